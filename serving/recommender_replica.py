"""The Ray Serve deployment of recommendations: one process with a complete service and its own listener.

Serve manages the process: start, health, restart, scaling, rolling updates. Requests do not pass through it
(see ``server.py`` for why, with measurements). A replica shuts down gracefully: it stops accepting
connections, finishes open requests and writes queued events.
"""

from __future__ import annotations

import time
from typing import Any

from ray import serve
from starlette.types import ASGIApp

from serving.api.asgi import create_asgi
from serving.autoscaling import DEMAND, LoadMeter
from serving.engine.background_lists import BackgroundLists
from serving.engine.service import Service
from serving.error_log import log_to_file
from serving.operations_client import OperationsClient
from serving.ray_patches import bind_to_node_address
from serving.server import Server
from serving.service_metrics import ServiceMetrics
from serving.settings import read_settings


@serve.deployment(
    name="Replica",
    ray_actor_options={"num_cpus": 1},
    health_check_period_s=5,
    health_check_timeout_s=15,
    graceful_shutdown_timeout_s=20,
)
class RecommenderReplica:
    """``settings`` are ``serving.settings.Settings`` as JSON; ``operations`` is a Serve handle or None."""

    def __init__(self, settings: dict[str, Any], operations: Any = None) -> None:
        bind_to_node_address()
        checked = read_settings(settings, where="the deployment's settings")
        log_to_file(checked.log_path)
        self._service = Service(checked, ServiceMetrics(checked.metrics_path))
        self._service.start()
        self._drain_seconds = checked.drain_seconds
        self._autoscaling = checked.autoscaling
        self._load = LoadMeter(self._application(operations), closing=lambda: self._service.closing)
        self._server = Server(self._load, host=checked.host, port=checked.port)
        self._server.start()
        if checked.lists_cpu > 0:
            self._background_lists = BackgroundLists(self._service.missing_lists)

    def _application(self, operations: Any) -> ASGIApp:
        return create_asgi(self._service, None if operations is None else OperationsClient(operations))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """This replica's demand, for Ray Serve's autoscaler (``autoscaling.desired_replicas``)."""
        load = self._load.read()
        return {} if self._autoscaling is None else {DEMAND: load.demand(self._autoscaling)}

    def check_health(self) -> None:
        """Raises RuntimeError where the replica is unhealthy: Serve then replaces it."""
        wrong = self._service.health() or ("" if self._server.alive else "the HTTP server has stopped")
        if wrong:
            raise RuntimeError(wrong)

    def __del__(self) -> None:
        if hasattr(self, "_background_lists"):
            self._background_lists.stop()
        if hasattr(self, "_server"):
            self._service.closing = True  # /readyz answers 503 from now on
            time.sleep(self._drain_seconds)
            self._server.stop()
            self._service.close()
