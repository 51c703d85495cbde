"""Models compared on the same test ratings: intervals, paired differences, errors in groups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.seeds import derive_seed
from search.results.error_slices import error_groups
from search.results.intervals import Intervals
from search.results.metrics import ModelResult, metrics_on
from search.results.schema import Results

CHALLENGERS = ("best", "ensemble")
IN_GROUPS = ("formula", "formula_recalibrated", "bias", "best", "ensemble")


def rating_models(results: Results) -> dict[str, ModelResult]:
    """Model key -> every model of the results that predicts ratings."""
    models: dict[str, ModelResult | None] = {
        "formula": results.formula,
        "formula_recalibrated": results.formula_recalibrated,
        "template": results.template,
        **results.baselines,
        "best_hybrid_vae": results.best_hybrid_vae,
        "best": results.best,
        "ensemble": results.ensemble,
    }
    return {key: model for key, model in models.items() if model is not None}


def compare_models(
    results: Results, test: Ratings, stars: Mapping[str, NDArray[np.float32]], *, train: Ratings
) -> None:
    """Fill ``intervals``, ``comparisons`` and ``errors`` of ``results``.

    Args:
        results: With the models that ``stars`` are of.
        test: The judged ratings.
        stars: (test,) predictions by model key.
        train: The ratings that users and items are grouped by.
    """
    if not len(test) or not stars:
        return
    models = rating_models(results)
    kl = {key: metrics_on(models[key], "test").kl or 0.0 for key in stars}
    seed = derive_seed(results.split.seed, "report", "bootstrap")
    intervals = Intervals(test, stars, kl=kl, slice_name="test", seed=seed)
    results.intervals = intervals.alone()
    rivals = [key for key in stars if key not in CHALLENGERS]
    pairs = [("best", rival) for rival in rivals] + [("ensemble", rival) for rival in [*rivals, "best"]]
    results.comparisons = [
        comparison for a, b in pairs if a in stars and b in stars for comparison in intervals.compare(a, b)
    ]
    grouped = {key: stars[key] for key in IN_GROUPS if key in stars}
    results.errors = error_groups(test, grouped, train=train)
