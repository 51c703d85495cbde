"""Ratings as matrices for list families, and back."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.models.base import History
from recsys.types import IntArray


def typical_length(lengths: IntArray) -> float:
    """Mean ratings of the people who have any, 1 without one."""
    return float(lengths[lengths > 0].mean()) if lengths.any() else 1.0


def popularity(rated: sp.csr_matrix) -> NDArray[np.float32]:
    """(items,) ratings over those of the most rated item."""
    counts = np.bincount(rated.indices, minlength=rated.shape[1]).astype(np.float32)
    return np.asarray(counts / max(float(counts.max()), 1.0), dtype=np.float32)


def rated_matrix(ratings: Ratings) -> sp.csr_matrix:
    """(users, items) float32: 1 for the lowest rating that can be given, to 2 for the highest."""
    liked = 1 + (ratings.values - ratings.scale.low) / np.float32(ratings.scale.span)
    shape = (ratings.user_count, ratings.item_count)
    return sp.csr_matrix((liked.astype(np.float32), (ratings.users, ratings.items)), shape=shape)


def history_of(rated: sp.csr_matrix, user: int, scale: RatingScale) -> History:
    """A row of a ``rated_matrix`` as the ratings it was made of."""
    part = slice(rated.indptr[user], rated.indptr[user + 1])
    return History(
        rated.indices[part], (rated.data[part] - 1) * np.float32(scale.span) + np.float32(scale.low)
    )


def seen_matrix(ratings: Ratings) -> sp.csr_matrix:
    """(users, items) float32, 1 where rated."""
    ones = np.ones(len(ratings), dtype=np.float32)
    return sp.csr_matrix(
        (ones, (ratings.users, ratings.items)), shape=(ratings.user_count, ratings.item_count)
    )
