"""The operations deployment: one process for statistics, drift and roll-outs, off the request path.

Replicas call it by a Serve handle for ``GET /v1/experiments/{name}/results`` and the like. All of its state
can be read again from the event store, so Serve may restart it at any time.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from ray import serve

from recsys.notifications import Notifier
from recsys.types import JsonObject
from recsys.webhook import Message
from serving.error_log import log_to_file
from serving.events.store import EventStore
from serving.operations_service import NICE, Operations
from serving.ray_patches import bind_to_node_address
from serving.release_registry import resolve, set_champion
from serving.settings import read_settings

log = logging.getLogger("serving.operations_service")


@serve.deployment(name="Operations", num_replicas=1, ray_actor_options={"num_cpus": 1})
class OperationsReplica:
    """``settings`` are ``serving.settings.Settings`` as JSON."""

    def __init__(self, settings: dict[str, Any]) -> None:
        bind_to_node_address()
        os.nice(NICE)
        checked = read_settings(settings, where="the deployment's settings")
        log_to_file(checked.log_path)
        self._notifier = Notifier.from_environment(checked.operations.notify)
        self._operations = Operations(
            EventStore(checked.events),
            resolve=resolve,
            notify=self._notify,
            set_champion=set_champion,
            settings=checked.operations.as_settings(checked.experiment),
        )
        self._stop = threading.Event()
        work = {"stop": self._stop, "failed": lambda reason: log.error("operations wait: %s", reason)}
        self._thread = threading.Thread(target=self._operations.run, kwargs=work, daemon=True)
        self._thread.start()

    def results(self, experiment: str) -> JsonObject:
        return self._operations.results(experiment)

    def drift(self) -> JsonObject:
        return self._operations.drift()

    def overview(self) -> JsonObject:
        return self._operations.overview()

    def check_health(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the operations thread has ended")

    def __del__(self) -> None:
        if hasattr(self, "_stop"):
            self._stop.set()
            self._thread.join(3.0)

    def _notify(self, text: str) -> None:
        log.info("%s", text)
        self._notifier.send(Message(title="Serving", text=text, important=True))
