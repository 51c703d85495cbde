"""Rate limits by API key, or by client address without keys: a sliding window in each replica's memory."""

from __future__ import annotations

import hashlib
import math
import time

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

EXAMPLE = "100/second"


def parse_rate(text: str) -> limits.RateLimitItem:
    """Parse ``100/second``, ``5000 per minute``, ``20000/5 minutes``. Raises ValueError for anything else."""
    try:
        rate = limits.parse(text)
    except ValueError:
        raise ValueError(f"expected a rate like {EXAMPLE!r} or '5000/minute', got {text!r}") from None
    if rate.amount < 1:
        raise ValueError(f"a rate allows at least one request, got {text!r}")
    return rate


class RateLimiter:
    """Counts requests by caller; keys are kept as hashes."""

    def __init__(self, rate: limits.RateLimitItem) -> None:
        self.rate = rate
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def retry_after(self, key: bytes, address: str) -> int | None:
        """Count a request; None where it is admitted, else the whole seconds to wait.

        Args:
            key: the API key of the request, b"" for none.
            address: the client's address, used without a key.
        """
        caller = hashlib.blake2b(key, digest_size=16).hexdigest() if key else address
        if self._limiter.hit(self.rate, caller):
            return None
        reset = self._limiter.get_window_stats(self.rate, caller).reset_time
        return max(1, math.ceil(reset - time.time()))
