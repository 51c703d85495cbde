"""Keeps a replica in step with the others through the event store: ratings, erasures, items, rules,
the experiment's state.

One thread polls by sequence number a few times a second. A new revision is loaded in a thread of its own, so
that hashing a big release does not hold up ratings. While the store is away the replica goes on with what it
has.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from recsys.errors import InputError
from serving.domain import ExperimentState, Feedback
from serving.events.rows import JournalEntry
from serving.events.store import EventStore

log = logging.getLogger(__name__)


class Replicated(Protocol):
    """The replica's side: what the store's news are applied to."""

    @property
    def revision(self) -> int:
        """The revision in service."""

    def add_rating(self, event: Feedback) -> None:
        """A rating that was stored, here or by another replica."""

    def erase_users(self, erasures: Sequence[JournalEntry]) -> None:
        """People were erased; ``subject`` is their pseudonym. What they have given since is in the store."""

    def drop_ratings_before(self, at: float) -> None:
        """Retention deleted what is older (Unix seconds)."""

    def load_state(self, state: ExperimentState) -> None:
        """Load and serve a newer revision. Blocks. Raises InputError or OSError."""

    def refresh_catalogue(self) -> None:
        """Items and rules may have been changed, or a window may have opened. Raises what the store does."""

    def refresh_popularity(self) -> None:
        """Ratings may have come or gone."""

    def publish_metrics(self) -> None:
        """Called after each poll, whether the store could be read or not."""


class StoreSync:
    """Polls the store; ``start`` polls once before it returns."""

    def __init__(self, store: EventStore, target: Replicated, *, experiment: str, seconds: float) -> None:
        self._store = store
        self._target = target
        self._experiment = experiment
        self._seconds = seconds
        self._last_feedback = 0
        self._last_deletion: int | None = None
        self._stop = threading.Event()
        self._loading: threading.Thread | None = None
        self._refused_revision = -1
        self._store_away = False
        self._thread = threading.Thread(target=self._run, name="store-sync", daemon=True)

    def start(self) -> None:
        self._poll()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def catch_up(self) -> None:
        """Apply all ratings, erasures and retention stored since the last call."""
        if self._last_deletion is None:
            self._last_deletion = self._store.newest_entry()
        for number, event in self._store.numbered_feedback(kind="rating", after=self._last_feedback):
            self._target.add_rating(event)
            self._last_feedback = number
        # Deletions come after the rows that they deleted, and only those since the first look matter: what
        # was deleted before it was not read.
        erasures = list(self._store.journal(kind="erasure", after=self._last_deletion))
        retentions = list(self._store.journal(kind="retention", after=self._last_deletion))
        if erasures:
            self._target.erase_users(erasures)
        for entry in retentions:
            self._target.drop_ratings_before(entry.data["before"])
        self._last_deletion = max([self._last_deletion, *(entry.seq for entry in erasures + retentions)])

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._poll()

    def _poll(self) -> None:
        try:
            self._target.refresh_catalogue()
            self.catch_up()
            self._target.refresh_popularity()
            state = self._store.experiment(self._experiment)
        except Exception as error:  # whatever a database can raise: the next poll may find it back
            if not self._store_away:
                log.error("the event store cannot be read: %s", type(error).__name__)
            self._store_away = True
            self._target.publish_metrics()
            return
        if self._store_away:
            log.warning("the event store can be read again")
        self._store_away = False
        self._target.publish_metrics()
        if state is not None and state.revision > max(self._target.revision, self._refused_revision):
            self._load(state)

    def _load(self, state: ExperimentState) -> None:
        if self._loading is None or not self._loading.is_alive():
            self._loading = threading.Thread(
                target=self._load_state, args=(state,), name="loader", daemon=True
            )
            self._loading.start()

    def _load_state(self, state: ExperimentState) -> None:
        try:
            self._target.load_state(state)
            log.info("revision %d of %s is served", state.revision, state.name)
        except (InputError, OSError) as error:
            self._refused_revision = state.revision
            log.error("revision %d cannot be served here, the one before goes on: %s", state.revision, error)
