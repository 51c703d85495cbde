"""Is a difference more than luck? Paired bootstrap intervals, and intervals over seeds and over people.

Both sides are measured on the same ratings, so whole pairs (or whole users, whose ratings go
together) are drawn again with replacement; the interval holds the middle ``level`` of the drawn
differences (Efron and Tibshirani 1993, percentile interval). Above ``MAX_UNITS`` the units are put at
random into that many equal groups, drawn whole: the mean's variance stays, the cost does not grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from recsys.types import FloatArray, IntArray

RESAMPLES = 2000
MAX_UNITS = 20_000
BLOCK_CELLS = 1 << 22


@dataclass(frozen=True)
class ConfidenceInterval:
    """``value`` as measured, and the ``level`` interval around it."""

    value: float
    low: float
    high: float
    level: float = 0.95

    @property
    def below_zero(self) -> bool:
        """Surely negative: for ``rmse_difference(new, old)``, the new one is better."""
        return self.high < 0


def rmse_difference(
    first: FloatArray,
    second: FloatArray,
    *,
    seed: int,
    clusters: IntArray | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> ConfidenceInterval:
    """rmse of ``first`` less that of ``second``, stars; below 0 the first is better.

    ``first`` and ``second`` (n,) are squared errors on the same ratings; ``clusters`` (n,) whole numbers
    (user rows) that are drawn together.
    """
    sums = unit_sums(first, second, clusters=clusters, seed=seed)
    resampled = np.sqrt(draw_means(sums, resamples=resamples, seed=seed))
    value = float(np.sqrt(np.mean(first, dtype=np.float64)) - np.sqrt(np.mean(second, dtype=np.float64)))
    return interval(value, resampled[:, 0] - resampled[:, 1], level)


def mean_difference(
    first: FloatArray,
    second: FloatArray,
    *,
    seed: int,
    clusters: IntArray | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> ConfidenceInterval:
    """Mean of ``first`` less mean of ``second``, (n,) each on the same units, e.g. NDCG by user."""
    sums = unit_sums(first, second, clusters=clusters, seed=seed)
    resampled = draw_means(sums, resamples=resamples, seed=seed)
    value = float(np.mean(first, dtype=np.float64) - np.mean(second, dtype=np.float64))
    return interval(value, resampled[:, 0] - resampled[:, 1], level)


def mean_over_people(
    sums: FloatArray, counts: FloatArray | IntArray | None = None, *, level: float = 0.95
) -> ConfidenceInterval:
    """Student's t interval of a mean over people.

    Args:
        sums: (people,) each one's figure, or their sum over what counts of theirs.
        counts: (people,) how many of theirs count; the mean is then of all together, a ratio estimator with
            the linearised variance (Cochran 1977, Sampling techniques, 6.3). None: one each.
        level: Of confidence.

    Returns:
        NaN bounds for fewer than two people, NaN throughout where nothing counts.
    """
    people, weights = (
        len(sums),
        np.ones(len(sums)) if counts is None else np.asarray(counts, dtype=np.float64),
    )
    total = float(weights.sum())
    if not total:
        return ConfidenceInterval(float("nan"), float("nan"), float("nan"), level)
    mean = float(np.asarray(sums, dtype=np.float64).sum() / total)
    if people < 2:
        return ConfidenceInterval(mean, float("nan"), float("nan"), level)
    deviation = np.sqrt(np.square(sums - mean * weights).sum() / (people - 1))
    return around(mean, float(deviation * np.sqrt(people) / total), people, level=level)


def around(value: float, error: float, people: int, *, level: float = 0.95) -> ConfidenceInterval:
    """Student's t interval of ``value`` with its standard ``error``, estimated from ``people``."""
    half = float(stdtrit(people - 1, (1 + level) / 2)) * error
    return ConfidenceInterval(value, value - half, value + half, level)


def values_of(intervals: Mapping[str, ConfidenceInterval]) -> dict[str, float]:
    """Figures by name, without their intervals."""
    return {name: figure.value for name, figure in intervals.items()}


def unit_sums(
    first: FloatArray, second: FloatArray, *, clusters: IntArray | None, seed: int
) -> NDArray[np.float64]:
    """(units, 3): each unit's sum of ``first``, of ``second``, and its number of rows."""
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"expected two columns of one length, got {len(first)} and {len(second)}")
    units = np.arange(len(first)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    count = int(units.max()) + 1
    if count > MAX_UNITS:
        groups = np.random.default_rng(seed).permutation(count) % MAX_UNITS
        units, count = groups[units], MAX_UNITS
    return np.column_stack(
        [np.bincount(units, weights=weights, minlength=count) for weights in (first, second, None)]
    )


def draw_means(sums: NDArray[np.float64], *, resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, 2) means of both columns over units drawn with replacement."""
    random = np.random.default_rng(seed)
    block = max(1, BLOCK_CELLS // len(sums))
    resampled = np.empty((resamples, 3))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        picks = random.integers(len(sums), size=(size, len(sums)))
        for column in range(3):
            resampled[start : start + size, column] = sums[:, column][picks].sum(axis=1)
    means: NDArray[np.float64] = resampled[:, :2] / resampled[:, 2:]
    return means


def interval(value: float, resampled: NDArray[np.float64], level: float) -> ConfidenceInterval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return ConfidenceInterval(value, float(low), float(high), level)
