"""Unix time that is not set while a process runs."""

from __future__ import annotations

import time

_ORIGIN = time.time() - time.monotonic()


def steady_time() -> float:
    """Unix seconds by the wall clock at the process's start, counted on by the monotonic clock.

    Budgets and deadlines of one process are measured by it: a clock that is set neither ends nor prolongs
    them.
    """
    return _ORIGIN + time.monotonic()
