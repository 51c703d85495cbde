"""Random identifiers from a generator that the operating system seeds in each process: unique, not secret."""

from __future__ import annotations

import os
import random
import time

_random = random.Random()  # seeded by the operating system
os.register_at_fork(after_in_child=_random.seed)


def new_exposure_id() -> str:
    """32 hex digits that increase with time, so that an index on them stays local."""
    return f"{time.time_ns() // 1_000_000:012x}{_random.getrandbits(80):020x}"


def exposure_time(exposure_id: str | None) -> float | None:
    """When an exposure id was made, Unix seconds to the millisecond; None for any other text."""
    if exposure_id is None or len(exposure_id) != 32:
        return None
    try:
        return int(exposure_id[:12], 16) / 1000
    except ValueError:
        return None


def new_request_id() -> str:
    """32 hex digits."""
    return f"{_random.getrandbits(128):032x}"
