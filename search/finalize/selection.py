"""Which trials stand for what: the best, the baselines, the formula, the members of the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.io import write_atomic
from recsys.training.trial_types import TrialResult
from search.config.plan import SUBJECT, EnsembleOptions

VALID = "valid.npy"
MEMBER = "member"
ENSEMBLE_VALID = "ensemble-valid.npy"  # of the run


def usable(results: Sequence[TrialResult], run: Path) -> list[TrialResult]:
    """Trials with a packed member and its predictions, best rmse on valid first."""
    candidates = [
        result
        for result in results
        if result.rmse is not None
        and np.isfinite(result.rmse)
        and (run / result.folder / VALID).exists()
        and (run / result.folder / MEMBER).is_dir()
    ]
    return sorted(candidates, key=lambda result: (result.rmse, result.spec.number))


def best_of(results: Sequence[TrialResult], *origins: str) -> TrialResult | None:
    """The first of ``results`` (best first) from one of ``origins``."""
    return next((result for result in results if result.spec.origin in origins), None)


def best_searched(results: Sequence[TrialResult]) -> TrialResult | None:
    """The best trial of the search itself; a reference or baseline where there is no other."""
    best = best_of(results, "formula", "template", "start-from", "search", "experiment")
    return best or (results[0] if results else None)


def best_of_family(results: Sequence[TrialResult], family: str) -> TrialResult | None:
    """The search's best trial of ``family``, yardsticks left out."""
    return best_searched([result for result in results if result.spec.family == family])


def best_baselines(results: Sequence[TrialResult]) -> dict[str, TrialResult]:
    """The best trial of each family that was tuned as a yardstick."""
    best_by_family: dict[str, TrialResult] = {}
    for result in results:
        if result.spec.origin == "baseline":
            best_by_family.setdefault(result.spec.family, result)
    return best_by_family


def formula(results: Sequence[TrialResult]) -> TrialResult | None:
    """The formula trained to its own early stop, or as far as the run let it."""
    return _reference(results, "batch") or best_of(results, "formula")


def formula_recalibrated(results: Sequence[TrialResult]) -> TrialResult | None:
    """The same with BatchNorm's statistics re-estimated without dropout."""
    return _reference(results, "batch_recalibrated")


def _reference(results: Sequence[TrialResult], normalisation: str) -> TrialResult | None:
    references = (result for result in results if result.spec.origin == "reference")
    return next(
        (result for result in references if result.spec.config["normalisation"] == normalisation), None
    )


def candidates(results: Sequence[TrialResult], limits: EnsembleOptions) -> list[TrialResult]:
    """Who may join the ensemble: the best, at most ``per_family`` of a family and ``size`` in all.

    Each family's best comes first, then the rest by rmse: another family helps a blend more than another
    seed does. The blend gives weight 0 to a trial that does not help.
    """
    counts: dict[str, int] = {}
    firsts: list[TrialResult] = []
    others: list[TrialResult] = []
    for result in results:
        count = counts.get(result.spec.family, 0)
        if count >= limits.per_family:
            continue
        counts[result.spec.family] = count + 1
        (firsts if count == 0 else others).append(result)
    return sorted((firsts + others)[: limits.size], key=lambda result: (result.rmse, result.spec.number))


def valid_predictions(results: Sequence[TrialResult], run: Path) -> NDArray[np.float32]:
    """(trials, valid rows) stars."""
    return np.stack([np.load(run / result.folder / VALID, allow_pickle=False) for result in results])


def save_ensemble(run: Path, stars: NDArray[np.float32]) -> None:
    """(valid rows,) the blend's stars, for later comparisons of runs."""
    data = BytesIO()
    np.save(data, stars)
    write_atomic(run / ENSEMBLE_VALID, data.getvalue())


def judged_on_test(usable: Sequence[TrialResult], members: Sequence[TrialResult]) -> list[TrialResult]:
    """Every trial that is evaluated on test, without repeats."""
    others = (
        formula(usable),
        formula_recalibrated(usable),
        best_of(usable, "template"),
        best_searched(usable),
        best_of_family(usable, SUBJECT),
        *best_baselines(usable).values(),
    )
    trials = {trial.spec.number: trial for trial in (*members, *others) if trial is not None}
    return list(trials.values())
