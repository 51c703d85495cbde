"""Expected gain of retraining, by the learning curve of earlier releases.

The curve is rmse = a + b log(ratings), by least squares over the runs' test figures: over the few octaves
that a deployment's releases span it is indistinguishable from a power law. Releases of one size give no
slope.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.types import JsonObject

MIN_GROWTH = 1.01  # the largest run's ratings over the smallest's, for a slope


@dataclass(frozen=True)
class CurvePoint:
    """A run: ``ratings`` in its data, ``rmse`` in stars on its test slice."""

    ratings: int
    rmse: float


@dataclass(frozen=True)
class RetrainingGain:
    """``gain`` in stars of rmse (positive is better) of training on ``now`` ratings instead of ``trained``;
    ``error`` its standard error, None with two points. ``words`` says why there is none, or ""."""

    trained: int
    now: int
    points: int
    gain: float | None = None
    error: float | None = None
    words: str = ""


def curve_point(run: Path, *, dataset: str) -> CurvePoint | None:
    """The point of a run's results.json; None for other data, or without a test figure."""
    try:
        results: JsonObject = json.loads((run / "results.json").read_text(encoding="utf-8"))
        if results["dataset"]["name"] != dataset:
            return None
        model = results.get("recommender") or results.get("ensemble") or results.get("best") or {}
        rmse = (model.get("test") or {}).get("rmse")
        return None if rmse is None else CurvePoint(int(results["dataset"]["ratings"]), float(rmse))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def expected_gain(points: Sequence[CurvePoint], *, trained: int, new_ratings: int) -> RetrainingGain:
    """The gain of retraining a release of ``trained`` ratings with ``new_ratings`` more."""
    now, sizes = trained + new_ratings, [point.ratings for point in points]
    if len(points) < 2 or max(sizes) < MIN_GROWTH * min(sizes):
        words = f"no estimate: {len(points)} earlier releases of one size, and a slope needs two sizes"
        return RetrainingGain(trained, now, len(points), words=words)
    x = np.log(np.array(sizes, dtype=np.float64))
    y = np.array([point.rmse for point in points])
    spread = float(np.square(x - x.mean()).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
    residual = y - y.mean() - slope * (x - x.mean())
    free = len(points) - 2
    step = math.log(now / trained)
    error = step * math.sqrt(float(np.square(residual).sum()) / free / spread) if free else None
    return RetrainingGain(trained, now, len(points), gain=-slope * step, error=error)
