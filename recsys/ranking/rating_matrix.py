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


def weigh_ratings(
    rated: sp.csr_matrix, *, damping: float, liking: float, scale: RatingScale
) -> tuple[sp.csr_matrix, dict[str, float]]:
    """Ratings by how much they count: heavy raters less each (``damping``), better liked items more.

    Args:
        rated: (users, items) float32, a ``rated_matrix``.
        damping: A rating of a user with n of them weighs (n / mean n)^-damping.
        liking: Times (its value in ``rated`` / their mean)^liking.
        scale: The ratings' scale.

    Returns:
        (users, items) float32 weights, and the ``weight`` settings by which a ranker folds people in.
    """
    lengths = np.diff(rated.indptr)
    typical = typical_length(lengths)
    damped = (np.maximum(lengths, 1) / typical) ** -damping
    mean = float(rated.data.mean(dtype=np.float64)) if rated.nnz else 1.0
    weights = np.repeat(damped, lengths) * (rated.data / mean) ** liking
    weighted = sp.csr_matrix((weights.astype(np.float32), rated.indices, rated.indptr), shape=rated.shape)
    settings = {"typical": typical, "damping": damping, "liking": liking, "mean": mean}
    return weighted, settings | {"low": scale.low, "span": scale.span}


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
