"""Intervals around the blend's stars: calibrated on valid, judged on test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.ensemble.rating_intervals import (
    RatingIntervals,
    coverage_by_band,
    fit_rating_intervals,
    user_activity,
)
from search.finalize.evaluator import Evaluator
from search.results.build import rating_interval_summary
from search.results.metrics import RatingIntervalSummary


@dataclass(frozen=True, eq=False)
class CalibratedIntervals:
    """``intervals`` None where valid is too small; ``valid_deviations`` (valid rows,) stars or None, what
    they scale with; ``summary`` their coverage on test, None without rows to judge."""

    intervals: RatingIntervals | None
    valid_deviations: NDArray[np.float32] | None
    summary: RatingIntervalSummary | None


def calibrate_intervals(
    judge: Evaluator,
    weights: Sequence[float],
    *,
    searched: Sequence[Path],
    judged: Sequence[Path],
    valid_stars: NDArray[np.float32],
    test_stars: NDArray[np.float32],
) -> CalibratedIntervals:
    """Fits them on valid and judges them on test.

    Args:
        judge: The run's slices.
        weights: (members,) in the blend.
        searched: (members,) folders of members that have not seen valid.
        judged: (members,) folders of those that test judges.
        valid_stars: (valid rows,) the blend's, by ``searched``.
        test_stars: (test rows,) the blend's, by ``judged``.
    """
    valid, test = judge.slice("valid"), judge.slice("test")
    deviations = judge.deviations(list(zip(searched, weights, strict=True)), valid)
    intervals = fit_rating_intervals(
        valid_stars, valid, user_activity(judge.slice("train")), deviations=deviations
    )
    if intervals is None or not len(test):
        return CalibratedIntervals(intervals, deviations, None)
    bands = coverage_by_band(
        intervals,
        test_stars,
        test,
        user_activity(judge.known_ratings),
        judge.deviations(list(zip(judged, weights, strict=True)), test),
    )
    return CalibratedIntervals(intervals, deviations, rating_interval_summary(intervals, bands))
