"""Prediction intervals for ratings: split conformal quantiles of valid's residuals, by user activity.

A residual is a rating minus its prediction. Users with about as many known ratings form a band; in each band
the interval runs from the prediction plus a low residual quantile to the prediction plus a high one, so that
it need not be symmetric. The finite-sample correction of split conformal prediction (Vovk et al. 2005; Lei et
al. 2018, arXiv:1604.04173) makes the coverage at least ``level`` for exchangeable rows of a band; bands make
it hold near ``level`` for light and heavy users alike (Mondrian conformal prediction).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.types import FloatArray, IntArray

LEVEL = 0.8
MAX_BANDS = 5
MIN_ROWS = 200  # of valid, in a band: fewer make its quantiles a lottery


@dataclass(frozen=True)
class RatingIntervals:
    """Offsets from a prediction to its interval, by band.

    Attributes:
        level: the share of ratings that should lie inside, 0 to 1.
        least_ratings: (bands,) known ratings from which a user is in the band, ascending; the first is 0.
        low: (bands,) stars to add to a prediction for the lower end.
        high: (bands,) stars to add for the upper end.
    """

    level: float
    least_ratings: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.least_ratings), len(self.low), len(self.high)}
        rising = all(a < b for a, b in zip(self.least_ratings, self.least_ratings[1:], strict=False))
        if len(lengths) != 1 or not self.least_ratings or self.least_ratings[0] != 0 or not rising:
            raise ValueError(f"bands {self.least_ratings} with {len(self.low)} and {len(self.high)} offsets")

    def bands(self, known_ratings: IntArray | int) -> NDArray[np.intp]:
        """Band of each user by how many of their ratings are known."""
        return np.searchsorted(np.asarray(self.least_ratings), known_ratings, side="right") - 1

    def ends(
        self, stars: FloatArray, known_ratings: IntArray | int, scale: RatingScale
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lower and upper ends for predictions, on the scale.

        Args:
            stars: (n,) predicted ratings.
            known_ratings: (n,) known ratings of each prediction's user, or one number for all.
            scale: the lowest and highest rating that there can be.
        """
        band = self.bands(known_ratings)
        low = np.clip(stars + np.asarray(self.low)[band], scale.low, scale.high)
        high = np.clip(stars + np.asarray(self.high)[band], scale.low, scale.high)
        return low.astype(np.float32), high.astype(np.float32)

    def covers(self, stars: FloatArray, known_ratings: IntArray | int, ratings: Ratings) -> NDArray[np.bool_]:
        """(n,) whether each of ``ratings`` lies in the interval around its prediction; as ``ends``."""
        low, high = self.ends(stars, known_ratings, ratings.scale)
        inside: NDArray[np.bool_] = (ratings.values >= low) & (ratings.values <= high)
        return inside


@dataclass(frozen=True)
class BandCoverage:
    """What intervals were worth on rows they were not made on; ``width`` is the mean, in stars."""

    least_ratings: int
    rows: int
    coverage: float
    width: float


def user_activity(known: Ratings) -> NDArray[np.int64]:
    """(users,) ratings of each user in ``known``: what bands go by."""
    return np.bincount(known.users, minlength=known.user_count)


def fit_rating_intervals(
    stars: FloatArray, valid: Ratings, known_ratings: IntArray, *, level: float = LEVEL
) -> RatingIntervals | None:
    """Intervals from predictions of held-out ratings; None where there are fewer than ``MIN_ROWS``.

    Args:
        stars: (n,) predictions of ``valid`` by models that did not train on it.
        valid: the held-out ratings.
        known_ratings: (users,) ratings of each user that the models did know.
        level: the share of ratings that should lie inside.
    """
    if len(valid) < MIN_ROWS:
        return None
    known = known_ratings[valid.users]
    residuals = valid.values.astype(np.float64) - stars
    starts = _band_starts(known)
    band = np.searchsorted(starts, known, side="right") - 1
    ends = [_quantiles(residuals[band == index], level) for index in range(len(starts))]
    return RatingIntervals(
        level=level,
        least_ratings=tuple(int(start) for start in starts),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )


def coverage_by_band(
    intervals: RatingIntervals, stars: FloatArray, held_out: Ratings, known_ratings: IntArray
) -> list[BandCoverage]:
    """The share of ratings inside their interval, band by band; bands without a row are left out."""
    known = known_ratings[held_out.users]
    low, high = intervals.ends(stars, known, held_out.scale)
    inside = intervals.covers(stars, known, held_out)
    band = intervals.bands(known)
    rows = []
    for index, least in enumerate(intervals.least_ratings):
        chosen = band == index
        if chosen.any():
            width = float(np.mean(high[chosen] - low[chosen]))
            rows.append(BandCoverage(least, int(chosen.sum()), float(np.mean(inside[chosen])), width))
    return rows


def _band_starts(known: IntArray) -> NDArray[np.int64]:
    """Where each band begins: quantiles of the rows' activity, every band with ``MIN_ROWS`` rows."""
    count = max(1, min(MAX_BANDS, len(known) // MIN_ROWS))
    cuts = np.unique(np.quantile(known, np.arange(1, count) / count, method="higher"))
    starts = [0]
    for cut in cuts:
        inside = np.count_nonzero((known >= starts[-1]) & (known < cut))
        if inside >= MIN_ROWS and np.count_nonzero(known >= cut) >= MIN_ROWS:
            starts.append(int(cut))
    return np.asarray(starts, dtype=np.int64)


def _quantiles(residuals: Sequence[float] | FloatArray, level: float) -> tuple[float, float]:
    """The conformal low and high quantile: each tail holds at most (1 - level) / 2 of a new residual."""
    ordered = np.sort(np.asarray(residuals, dtype=np.float64))
    count, tail = len(ordered), (1 - level) / 2
    rank = max(1, math.floor((count + 1) * tail))
    return float(ordered[rank - 1]), float(ordered[count - rank])
