"""Age of a user or an item at its newest rating so far, in log-spaced bins.

A row's bin is that of its newest training rating up to the given time, counted from its first rating. The bin
does not advance without ratings: otherwise predictions as of now would read bins that were not trained. A row
without such a rating is new: bin 0. So later ratings never change a bin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.types import IntArray

Times = NDArray[np.int64]  # Unix seconds, or seconds between
USER_EDGES: Times = 60 * 16 ** np.arange(6)  # lower edges of the bins: a minute to two years
ITEM_EDGES: Times = 86_400 * 4 ** np.arange(7)  # a day to eleven years
USER_BINS, ITEM_BINS = len(USER_EDGES) + 1, len(ITEM_EDGES) + 1
NEVER = np.iinfo(np.int64).max


class AgeBins:
    """``since`` (count, bins) is the first time at which each row is in each bin; ``NEVER`` if never."""

    def __init__(self, rows: IntArray, times: Times, *, count: int, edges: Times) -> None:
        """
        Args:
            rows: (n,) of the training ratings.
            times: (n,) of the training ratings, Unix seconds.
            count: Rows in all.
            edges: (bins - 1,) lower edges of the bins after the first, seconds.
        """
        first = np.full(count, NEVER)
        np.minimum.at(first, rows, times)
        bins = np.searchsorted(edges, times - first[rows], side="right")
        self.since = np.full((count, len(edges) + 1), NEVER)
        np.minimum.at(self.since, (rows, bins), times)

    def bins(self, rows: IntArray, times: Times) -> NDArray[np.int64]:
        """(n,) bins of ``rows`` (n,) at ``times`` (n,), Unix seconds."""
        result = np.zeros(len(rows), dtype=np.int64)
        for index in range(1, self.since.shape[1]):
            result[self.since[rows, index] <= times] = index
        return result
