"""Training data of list families: ratings, and their matrices, made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from recsys.data.ratings import Ratings
from recsys.ranking.rating_matrix import liked, rated_matrix, seen_matrix
from recsys.types import FloatArray

PAGE_GAP_SECONDS = 120  # a longer gap between two ratings starts another page


def with_positives(ratings: Ratings, positives: Ratings | None) -> Ratings:
    """``ratings`` and ``positives`` (``Dataset.positives``) together, for lists."""
    if positives is None or not len(positives) or not len(ratings):
        return ratings
    return ratings.joined(positives)


@dataclass(frozen=True, eq=False)
class ListData:
    """Training data of list families.

    Args:
        ratings: At most one rating per user and item.
        item_features: (items, columns) float, or None.
    """

    ratings: Ratings
    item_features: FloatArray | None = None

    @property
    def has_times(self) -> bool:
        """Whether the ratings carry timestamps that differ."""
        return self.ratings.has_times

    @cached_property
    def rated(self) -> sp.csr_matrix:
        """(users, items) float32 ratings on a scale from 1, the lowest that can be given, to 2."""
        return rated_matrix(self.ratings)

    @cached_property
    def seen(self) -> sp.csr_matrix:
        """(users, items) float32, 1 where rated."""
        return seen_matrix(self.ratings)

    @cached_property
    def pages(self) -> sp.csr_matrix:
        """(pages, items) as ``rated``: runs of a user's ratings with gaps of at most PAGE_GAP_SECONDS.

        Runs of a single rating, which have no pair of items, are dropped."""
        ratings = self.ratings
        if ratings.times is None or not len(ratings):
            return sp.csr_matrix((0, ratings.item_count), dtype=np.float32)
        order = np.lexsort((ratings.times, ratings.users))
        users, times = ratings.users[order], ratings.times[order]
        begins = np.r_[True, (np.diff(users) != 0) | (np.diff(times) > PAGE_GAP_SECONDS)]
        page = np.cumsum(begins) - 1
        long = np.bincount(page)[page] > 1
        _, page = np.unique(page[long], return_inverse=True)
        values = liked(ratings)[order][long]
        count = int(page[-1]) + 1 if len(page) else 0
        shape = (count, ratings.item_count)
        return sp.csr_matrix((values, (page, ratings.items[order][long])), shape=shape)
