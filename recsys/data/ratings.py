"""Ratings as columns: what every model, metric and split works on.

``users`` and ``items`` are row numbers, dense from 0; the outside world's ids live in ``Dataset``.
Columns may be memory maps: nothing here copies them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray, IntArray


@dataclass(frozen=True)
class RatingScale:
    """The lowest and highest rating that can be given, in stars."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a rating scale needs low < high, got {self.low} .. {self.high}")

    @property
    def span(self) -> float:
        return self.high - self.low

    def clip(self, stars: FloatArray) -> NDArray[np.float32]:
        """``stars`` of any shape, limited to the scale."""
        return np.clip(stars, self.low, self.high).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Ratings:
    """``users``, ``items`` (n,) int32 rows; ``values`` (n,) float32 stars; ``times`` (n,) int64 Unix seconds.

    ``weights`` (n,) float32 count in errors and in the fits that can weigh (``exposure_weights``), None where
    all count the same. ``user_count`` and ``item_count`` cover the whole dataset, also those without a rating
    in this slice.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    scale: RatingScale
    user_count: int
    item_count: int
    weights: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.users), len(self.items), len(self.values)}
        if self.times is not None:
            lengths.add(len(self.times))
        if self.weights is not None:
            lengths.add(len(self.weights))
        if len(lengths) != 1:
            raise ValueError(f"rating columns differ in length: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.users)

    @property
    def has_times(self) -> bool:
        """Whether there are timestamps that differ."""
        return self.times is not None and len(self) > 0 and bool(self.times.min() < self.times.max())

    def thinned(self, most: int) -> Ratings:
        """At most ``most`` ratings, evenly spaced: the same ones whenever it is asked."""
        return self.take(np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64))

    def take(self, rows: IntArray) -> Ratings:
        """The ratings at ``rows``, in that order."""
        return Ratings(
            users=self.users[rows],
            items=self.items[rows],
            values=self.values[rows],
            times=None if self.times is None else self.times[rows],
            scale=self.scale,
            user_count=self.user_count,
            item_count=self.item_count,
            weights=None if self.weights is None else self.weights[rows],
        )

    def joined(self, other: Ratings) -> Ratings:
        """These, then those of ``other``, of the same scale, users and items; times where both have them, no
        weights."""
        times = None
        if self.times is not None and other.times is not None:
            times = np.concatenate([self.times, other.times])
        return replace(
            self,
            users=np.concatenate([self.users, other.users]),
            items=np.concatenate([self.items, other.items]),
            values=np.concatenate([self.values, other.values]),
            times=times,
            weights=None,
        )


def weighted_mean(ratings: Ratings) -> float:
    """Stars, by the ratings' weights."""
    if ratings.weights is None:
        return float(np.mean(ratings.values, dtype=np.float64))
    return float(np.average(ratings.values.astype(np.float64), weights=ratings.weights))
