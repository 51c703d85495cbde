"""Autoscaling: the load that each replica reports, and the policy for Ray Serve's autoscaler.

Requests go from the socket straight into a replica (``server.py``), so Serve's own count of ongoing requests
is always 0. A replica reports its mean requests in flight (request seconds per second, Little's law) and the
share of a core that it used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.settings import AutoscalingSettings

POLICY = "serving.autoscaling:desired_replicas"
DEMAND = "demand"  # what a replica reports: ``ReplicaLoad.demand``
AVERAGE_SECONDS = 10.0  # over which Serve averages the reports
CONNECTION_CLOSE = (b"connection", b"close")


@dataclass(frozen=True)
class ReplicaLoad:
    """A replica's load between two readings: mean requests in flight, and CPU seconds per second."""

    ongoing: float
    busy: float

    def demand(self, settings: AutoscalingSettings) -> float:
        """The number of replicas that would carry this load at the target utilisation."""
        return max(self.ongoing / settings.target_ongoing_requests, self.busy / settings.target_busy)


class LoadMeter:
    """ASGI middleware that integrates requests in flight over time.

    While ``closing`` it sends ``Connection: close``: clients with a keep-alive connection would stay with a
    replica that is about to end.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        closing: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._app, self._closing, self._clock, self._cpu = app, closing, clock, cpu
        self._direct: Callable[[Scope], Any] | None = getattr(app, "direct_answer", None)
        self._in_flight = 0
        self._integral = 0.0  # request seconds until _changed_at
        self._changed_at = clock()
        self._read_at, self._read_integral, self._read_cpu = self._changed_at, 0.0, cpu()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), CONNECTION_CLOSE]}
            await send(message)

        self._change(1)
        try:
            await self._app(scope, receive, send_closing if self._closing() else send)
        finally:
            self._change(-1)

    def direct_answer(self, scope: Scope) -> Any:
        """The application's direct answer, None without one."""
        if self._direct is None or self._closing():
            return None
        self._change(1)
        try:
            return self._direct(scope)
        finally:
            self._change(-1)

    def read(self) -> ReplicaLoad:
        """The load since the last reading, at first since the start."""
        self._change(0)
        now, cpu = self._changed_at, self._cpu()
        seconds = max(now - self._read_at, 1e-9)
        load = ReplicaLoad((self._integral - self._read_integral) / seconds, (cpu - self._read_cpu) / seconds)
        self._read_at, self._read_integral, self._read_cpu = now, self._integral, cpu
        return load

    def _change(self, by: int) -> None:
        now = self._clock()
        self._integral += self._in_flight * (now - self._changed_at)
        self._changed_at = now
        self._in_flight += by


def autoscaling_config(settings: AutoscalingSettings, least: int) -> dict[str, Any]:
    """``autoscaling_config`` of the deployment, with at least ``least`` replicas."""
    return {
        "min_replicas": least,
        "initial_replicas": least,
        "max_replicas": settings.max_replicas,
        "upscale_delay_s": settings.upscale_seconds,
        "downscale_delay_s": settings.downscale_seconds,
        "look_back_period_s": AVERAGE_SECONDS,
        "policy": {"policy_function": POLICY},
    }


def desired_replicas(context: Any) -> tuple[int, dict[str, Any]]:
    """Serve's autoscaling policy: the sum of the replicas' demands, and no state.

    Serve averages the reports of ``AVERAGE_SECONDS`` and applies its bounds and delays to the result.

    Args:
        context: ray.serve.config.AutoscalingContext.
    """
    demands = (context.aggregated_metrics or {}).get(DEMAND)
    if not demands:  # nobody has reported yet
        return context.target_num_replicas, {}
    return max(1, math.ceil(sum(demands.values()))), {}
