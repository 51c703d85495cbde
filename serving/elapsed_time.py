"""Durations from a stored time on, which neither a step of the wall clock nor a restart makes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class PhaseTimer:
    """Seconds since a phase began, measured by the monotonic clock from the first call on.

    The wall clock is read once a phase: what it says passed since the stored beginning (before a restart),
    at least 0. A clock that is set later neither ends the phase early nor prolongs it.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._phase: Hashable = None
        self._origin = 0.0  # on the monotonic clock

    def seconds(self, phase: Hashable, *, since: float, now: float) -> float:
        """The age of ``phase``.

        Args:
            phase: Identifies it; another one starts a new measurement.
            since: Its stored beginning, Unix seconds.
            now: Unix seconds.
        """
        reading = self._monotonic()
        if phase != self._phase:
            self._phase, self._origin = phase, reading - max(0.0, now - since)
        return reading - self._origin


def durations_of(clock: Callable[[], float]) -> Callable[[], float]:
    """The clock that measures durations beside the wall clock ``clock``: the system's monotonic one, or a
    simulated ``clock`` itself."""
    return time.monotonic if clock is time.time else clock
