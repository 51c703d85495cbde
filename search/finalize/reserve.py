"""The seconds that finishing a run needs, estimated from its trials: retraining and refit.

What does not fit into the budget is left out in this order, the release always first: the release is made of
what there is (before anything is judged, where less than half of the reserve is left); then test judges
models trained again on valid; then the release is refitted on every slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recsys.data.split import SLICES, Split
from recsys.training.trial_types import TrialResult
from search.config.plan import SearchPlan


def retrain_seconds(results: Iterable[TrialResult], split: Split, slices: Sequence[str]) -> float:
    """Seconds to train ``results`` again on ``slices``, one after the other: each trial's measured seconds up
    to its best epoch, times the ratings that it gets more."""
    rows = sum(len(split.rows(name)) for name in SLICES if name in slices)
    ratio = rows / max(len(split.train), 1)
    return sum(
        result.seconds * ratio * (result.best_epoch or 0) / max(len(result.reports), 1) for result in results
    )


def finish_seconds(
    plan: SearchPlan, results: Sequence[TrialResult], split: Split, *, slowdown: float = 1.0
) -> float:
    """Seconds to reserve for what ``plan`` does after the search: ``finish_minutes``, times how much slower
    the machine has become, and the training times of the slowest trials, as many as the ensemble has, for
    each of retraining and refit."""
    usable = sorted(
        (result for result in results if result.rmse is not None), key=lambda result: -result.seconds
    )
    members = usable[: plan.ensemble.size]
    seconds = 60 * plan.finish_minutes * slowdown
    if plan.retrain_on_valid:
        seconds += retrain_seconds(usable[: plan.ensemble.size + 4], split, ("train", "valid"))
    if plan.refit:
        seconds += retrain_seconds(members, split, SLICES)
    return seconds
