"""User-item matrices of ratings, as list families read them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.models.base import History
from recsys.types import IntArray, JsonObject


def typical_length(lengths: IntArray) -> float:
    """Mean of the positive ``lengths`` (users,), ratings per user; 1 without one."""
    return float(lengths[lengths > 0].mean()) if lengths.any() else 1.0


def weigh_ratings(
    rated: sp.csr_matrix, *, damping: float, liking: float, scale: RatingScale
) -> tuple[sp.csr_matrix, dict[str, float]]:
    """Confidence weights of ratings: lower for users with many of them, higher for high ratings.

    Args:
        rated: (users, items) float32, a ``rated_matrix``.
        damping: A rating of a user with n of them weighs (n / mean n)^-damping.
        liking: Times (its value in ``rated`` / their mean)^liking.
        scale: The ratings' scale.

    Returns:
        (users, items) float32 weights, and the ``weight`` settings by which a ranker folds users in.
    """
    typical = typical_length(np.diff(rated.indptr))
    mean = float(rated.data.mean(dtype=np.float64)) if rated.nnz else 1.0
    settings = {"typical": typical, "damping": damping, "liking": liking, "mean": mean}
    return weighted_by(rated, settings), settings | {"low": scale.low, "span": scale.span}


def weighted_by(rated: sp.csr_matrix, weight: JsonObject) -> sp.csr_matrix:
    """(users, items) float32 weights of a ``rated_matrix`` by the settings of ``weigh_ratings``."""
    lengths = np.diff(rated.indptr)
    damped = (np.maximum(lengths, 1) / weight["typical"]) ** -weight["damping"]
    values = np.repeat(damped, lengths) * (rated.data / weight["mean"]) ** weight["liking"]
    return sp.csr_matrix((values.astype(np.float32), rated.indices, rated.indptr), shape=rated.shape)


def popularity(rated: sp.csr_matrix) -> NDArray[np.float32]:
    """(items,) counts of a ``rated_matrix``, divided by the largest."""
    counts = np.bincount(rated.indices, minlength=rated.shape[1]).astype(np.float32)
    return np.asarray(counts / max(float(counts.max()), 1.0), dtype=np.float32)


def liked(ratings: Ratings) -> NDArray[np.float32]:
    """(n,) ratings on a scale from 1, the lowest that can be given, to 2."""
    above = (ratings.values - ratings.scale.low) / np.float32(ratings.scale.span)
    return np.asarray(1 + above, dtype=np.float32)


def rated_matrix(ratings: Ratings) -> sp.csr_matrix:
    """(users, items) float32 ratings on a scale from 1, the lowest that can be given, to 2."""
    shape = (ratings.user_count, ratings.item_count)
    return sp.csr_matrix((liked(ratings), (ratings.users, ratings.items)), shape=shape)


def history_of(rated: sp.csr_matrix, user: int, scale: RatingScale) -> History:
    """The row ``user`` of a ``rated_matrix`` as ratings in stars."""
    row = slice(rated.indptr[user], rated.indptr[user + 1])
    values = (rated.data[row] - 1) * np.float32(scale.span) + np.float32(scale.low)
    return History(rated.indices[row], values)


def seen_matrix(ratings: Ratings) -> sp.csr_matrix:
    """(users, items) float32, 1 where rated."""
    ones = np.ones(len(ratings), dtype=np.float32)
    return sp.csr_matrix(
        (ones, (ratings.users, ratings.items)), shape=(ratings.user_count, ratings.item_count)
    )
