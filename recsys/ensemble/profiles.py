"""Rating profiles of users and items: activity, mean, deviation and use of the scale's ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.types import FloatArray, IntArray

COLUMNS = 5  # log of 1 + count, mean, standard deviation, share at the scale's top, share at its bottom
DAMPING = 5.0  # average ratings that are added to a user's or an item's
Array = NDArray[np.float64]


def sums(rows: IntArray, values: FloatArray, count: int, scale: RatingScale) -> Array:
    """The sums that profiles are made of.

    Args:
        rows: (ratings,) user or item rows.
        values: (ratings,) stars.
        count: Of rows.
        scale: Of the ratings.

    Returns:
        (count, COLUMNS): number of ratings, their sum, sum of squares, number at the scale's top and bottom.
    """
    stars = values.astype(np.float64)
    weights = (None, stars, np.square(stars), values == scale.high, values == scale.low)
    return np.stack([np.bincount(rows, weights=weight, minlength=count) for weight in weights], axis=1)


def sums_of_one(values: FloatArray, scale: RatingScale) -> Array:
    """``sums`` of one user or item.

    Args:
        values: (n,) stars.
        scale: Of the ratings.

    Returns:
        (1, COLUMNS).
    """
    stars = values.astype(np.float64)
    ends = np.count_nonzero(values == scale.high), np.count_nonzero(values == scale.low)
    return np.array([[len(stars), stars.sum(), stars @ stars, *ends]])


def everyone_of(ratings: Ratings) -> Array:
    """``sums`` of the average rating.

    Args:
        ratings: All known.

    Returns:
        (COLUMNS,).
    """
    total: Array = sums_of_one(ratings.values, ratings.scale)[0]
    return total / max(len(ratings), 1)


def of_users(ratings: Ratings, everyone: Array) -> Array:
    """Profiles of all users.

    Args:
        ratings: All known.
        everyone: (COLUMNS,) of ``everyone_of``.

    Returns:
        (users, COLUMNS).
    """
    return profiles(sums(ratings.users, ratings.values, ratings.user_count, ratings.scale), everyone)


def of_items(ratings: Ratings, everyone: Array) -> Array:
    """Profiles of all items.

    Args:
        ratings: All known.
        everyone: (COLUMNS,) of ``everyone_of``.

    Returns:
        (items, COLUMNS).
    """
    return profiles(sums(ratings.items, ratings.values, ratings.item_count, ratings.scale), everyone)


def profiles(totals: Array, everyone: Array) -> Array:
    """Profiles from ``sums``, shrunk towards the average rating.

    Args:
        totals: (n, COLUMNS) ``sums``.
        everyone: (COLUMNS,) of ``everyone_of``.

    Returns:
        (n, COLUMNS): log of 1 + count, mean, standard deviation, shares at the scale's top and bottom.
    """
    damped = totals + DAMPING * everyone
    mean, square, top, bottom = (damped[:, 1:] / damped[:, :1]).T
    deviation = np.sqrt(np.maximum(square - np.square(mean), 0))
    return np.stack([np.log1p(totals[:, 0]), mean, deviation, top, bottom], axis=1)
