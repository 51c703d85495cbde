"""How long a user or an item had been known at its newest rating so far, in log-spaced bins.

A row is in the bin of the newest training rating that is not later than the one asked about, counted from
the row's first: what is known of it then stays known until something newer is (an age that went on by
itself would leave, for an answer now, the bins that its ratings have told of). Where train has no such
rating, the row is new: bin 0. So ratings given later, of anybody, can be changed or taken away and no bin
moves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.types import IntArray

Times = NDArray[np.int64]  # Unix seconds, or seconds between
USER_EDGES: Times = 60 * 16 ** np.arange(6)  # where bins begin: a minute to two years
ITEM_EDGES: Times = 86_400 * 4 ** np.arange(7)  # a day to eleven years
USER_BINS, ITEM_BINS = len(USER_EDGES) + 1, len(ITEM_EDGES) + 1
NEVER = np.iinfo(np.int64).max


class KnownFor:
    """``since`` (count, bins) is when train first has each row in each bin; ``NEVER`` if never."""

    def __init__(self, rows: IntArray, times: Times, *, count: int, edges: Times) -> None:
        """``rows`` and ``times`` (n,) of the training ratings, ``count`` rows in all."""
        first = np.full(count, NEVER)
        np.minimum.at(first, rows, times)
        bins = np.searchsorted(edges, times - first[rows], side="right")
        self.since = np.full((count, len(edges) + 1), NEVER)
        np.minimum.at(self.since, (rows, bins), times)

    def bins(self, rows: IntArray, times: Times) -> NDArray[np.int64]:
        """(n,) of ``rows`` at ``times``."""
        result = np.zeros(len(rows), dtype=np.int64)
        for index in range(1, self.since.shape[1]):
            result[self.since[rows, index] <= times] = index
        return result
