"""Rate limits by API key, or by address where the API has no key: a sliding window in a replica's memory."""

from __future__ import annotations

import hashlib
import math
import time

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

EXAMPLE = "100/second"


def parse_rate(text: str) -> limits.RateLimitItem:
    """``100/second``, ``5000 per minute``, ``20000/5 minutes``. Raises ValueError for anything else."""
    try:
        rate = limits.parse(text)
    except ValueError:
        raise ValueError(f"expected a rate like {EXAMPLE!r} or '5000/minute', got {text!r}") from None
    if rate.amount < 1:
        raise ValueError(f"a rate allows at least one request, got {text!r}")
    return rate


class RateLimiter:
    """Counts requests by caller. A key is remembered by its hash alone."""

    def __init__(self, rate: limits.RateLimitItem) -> None:
        self.rate = rate
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def retry_after(self, key: bytes, address: str) -> int | None:
        """None where the request may pass, which counts it; else whole seconds until the next may.

        Args:
            key: the API key that the request carries, b"" for none.
            address: the caller's address, which counts where there is no key.
        """
        caller = hashlib.blake2b(key, digest_size=16).hexdigest() if key else address
        if self._limiter.hit(self.rate, caller):
            return None
        reset = self._limiter.get_window_stats(self.rate, caller).reset_time
        return max(1, math.ceil(reset - time.time()))
