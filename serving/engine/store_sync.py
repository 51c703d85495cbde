"""Keeps a replica up with the others through the event store: ratings and the experiment's revision.

One thread reads by number a few times a second; a new revision is prepared in a thread of its own, so that
a big release being hashed does not hold up ratings. While the store is away everything known goes on being
served.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from recsys.errors import InputError
from serving.domain import ExperimentState

if TYPE_CHECKING:
    from serving.engine.service import Service

log = logging.getLogger(__name__)


class StoreSync:
    """``catch_up`` once before answering, then on its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._last_feedback = 0
        self._last_erasure = 0
        self._stop = threading.Event()
        self._loading: threading.Thread | None = None
        self._refused = -1
        self._store_away = False
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        self._tick()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def catch_up(self) -> None:
        """All ratings stored since the last look, and whose were erased."""
        for number, event in self._service.store.numbered_feedback(kind="rating", after=self._last_feedback):
            self._service.recent_ratings.add(event)
            self._last_feedback = number
        for entry in self._service.store.journal(kind="erasure", after=self._last_erasure):
            self._service.erase_user(entry.subject)
            self._last_erasure = entry.seq

    def _run(self) -> None:
        while not self._stop.wait(self._service.settings.poll_seconds):
            self._tick()

    def _tick(self) -> None:
        service = self._service
        try:
            self.catch_up()
            state = service.store.experiment(service.settings.experiment.name)
        except Exception as error:  # whatever a database can raise: the next look may find it back
            if not self._store_away:
                log.error("the event store cannot be read: %s", type(error).__name__)
            self._store_away = True
            return
        if self._store_away:
            log.warning("the event store can be read again")
        self._store_away = False
        self._publish()
        if state is not None and state.revision > max(service.deployment.state.revision, self._refused):
            self._load(state)

    def _publish(self) -> None:
        metrics, service = self._service.metrics, self._service
        metrics.waiting.set(service.writer.waiting)
        metrics.store.set(1 if service.writer.available else 0)
        service.flush_counts()

    def _load(self, state: ExperimentState) -> None:
        if self._loading is None or not self._loading.is_alive():
            self._loading = threading.Thread(target=self._activate, args=(state,), name="loader", daemon=True)
            self._loading.start()

    def _activate(self, state: ExperimentState) -> None:
        service = self._service
        try:
            service.activate(service.release_loader.load(state, service.deployment))
            log.info("revision %d of %s is served", state.revision, state.name)
        except (InputError, OSError) as error:
            self._refused = state.revision
            service.metrics.loads.labels("refused").inc()
            log.error("revision %d cannot be served here, the one before goes on: %s", state.revision, error)
