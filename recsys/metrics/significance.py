"""Confidence intervals: paired bootstrap for differences, Student's t for means over users.

Both systems are measured on the same ratings, so whole pairs (or whole users, with all their ratings) are
resampled with replacement; the interval is the middle ``level`` of the resampled differences (Efron and
Tibshirani 1993, percentile interval). Above ``MAX_UNITS`` the units are put at random into that many equal
groups, which are resampled whole: the mean's variance stays, the cost does not grow.
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
    """RMSE of ``first`` minus that of ``second``, stars; below 0 the first is better.

    Args:
        first: (n,) squared errors.
        second: (n,) squared errors on the same ratings.
        seed: Of the bootstrap.
        clusters: (n,) whole numbers such as user rows; rows of one cluster are resampled together.
        resamples: Of the bootstrap.
        level: Of confidence.
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
    """Mean of ``first`` minus mean of ``second``.

    Args:
        first: (n,) a metric by unit, e.g. NDCG by user.
        second: (n,) the same of the other system.
        seed: Of the bootstrap.
        clusters: (n,) whole numbers; units of one cluster are resampled together.
        resamples: Of the bootstrap.
        level: Of confidence.
    """
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
    """Student's t interval around an estimate.

    Args:
        value: The estimate.
        error: Its standard error.
        people: That ``error`` was estimated from.
        level: Of confidence.
    """
    half = float(stdtrit(people - 1, (1 + level) / 2)) * error
    return ConfidenceInterval(value, value - half, value + half, level)


def values_of(intervals: Mapping[str, ConfidenceInterval]) -> dict[str, float]:
    """The values of named intervals.

    Args:
        intervals: By name.
    """
    return {name: figure.value for name, figure in intervals.items()}


def unit_sums(
    first: FloatArray, second: FloatArray, *, clusters: IntArray | None, seed: int
) -> NDArray[np.float64]:
    """Sums by resampling unit.

    Args:
        first: (n,) a metric by row.
        second: (n,) likewise.
        clusters: (n,) unit of each row; None: each row is a unit.
        seed: Of the grouping above ``MAX_UNITS``.

    Returns:
        (units, 3): the sum of ``first``, of ``second``, and the number of rows.

    Raises:
        ValueError: The lengths differ, or are 0.
    """
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
    """Bootstrap means.

    Args:
        sums: (units, 3) of ``unit_sums``.
        resamples: How many.
        seed: Of the draws.

    Returns:
        (resamples, 2) means of both columns over resampled units.
    """
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
    """The percentile interval of a bootstrap.

    Args:
        value: As measured.
        resampled: (resamples,) the statistic on each resample.
        level: Of confidence.
    """
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return ConfidenceInterval(value, float(low), float(high), level)
