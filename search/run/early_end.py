"""Rules that end a search before its budget: the loss that was asked for, and a plateau. Pure.

A plateau is when the last so many searched trials, and at least the last so many dollars of them, have
improved the best rmse by less than a threshold: the next dollar is not expected to buy anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from recsys.training.trial_types import TrialResult
from search.config.plan import PlateauOptions, SearchPlan
from search.results.run_info import RunStatus

SEARCHED = ("search", "start-from")


def early_end(
    plan: SearchPlan, results: Sequence[TrialResult], *, usd_per_hour: float, at_once: int
) -> tuple[RunStatus, str] | None:
    """The rule that ends the search now, and why; None while it continues. Arguments as below."""
    if reason := target_reached(plan, results):
        return "target", reason
    if reason := plateau_reached(plan.plateau, results, usd_per_hour=usd_per_hour, at_once=at_once):
        return "plateau", reason
    return None


def target_reached(plan: SearchPlan, results: Iterable[TrialResult]) -> str | None:
    """Why the search ends at ``target_loss``; None while no trial has reached it on valid."""
    if plan.target_loss is None:
        return None
    usable = [result for result in results if result.loss is not None and math.isfinite(result.loss)]
    best = min(usable, key=lambda result: (result.loss, result.spec.number), default=None)
    if best is None or best.loss is None or best.loss > plan.target_loss:
        return None
    return (
        f"trial {best.spec.number} ({best.spec.name}) has loss {best.loss:.4f} on valid, at most the "
        f"{plan.target_loss:g} of --target-loss: ending the search"
    )


def plateau_reached(
    options: PlateauOptions, results: Sequence[TrialResult], *, usd_per_hour: float, at_once: int
) -> str | None:
    """Why the search ends on a plateau; None while it continues.

    Args:
        options: The plan's rule; off where ``trials`` is 0.
        results: Trials in the order in which they ended.
        usd_per_hour: Of the whole cluster; 0 on a machine of one's own, where only trials count.
        at_once: Trials that share an hour's price.
    """
    if not options.trials:
        return None
    indices = [
        index
        for index, result in enumerate(results)
        if result.spec.origin in SEARCHED and result.spec.track == "rating"
    ]
    if len(indices) <= options.trials:
        return None
    first = indices[-options.trials]
    while first > 0 and _usd(results[first:], usd_per_hour, at_once) < options.usd and usd_per_hour > 0:
        first -= 1
    before, now = _best(results[:first]), _best(results)
    if not (math.isfinite(before) and before - now < options.improvement):
        return None
    spent = _usd(results[first:], usd_per_hour, at_once)
    cost = f" and ${spent:.2f}" if usd_per_hour else ""
    return (
        f"plateau: the last {options.trials} searched trials{cost} improved the best rmse by "
        f"{before - now:.4f} stars, less than {options.improvement:g}: ending the search"
    )


def _usd(results: Sequence[TrialResult], usd_per_hour: float, at_once: int) -> float:
    return usd_per_hour * sum(result.seconds for result in results) / 3600 / max(at_once, 1)


def _best(results: Sequence[TrialResult]) -> float:
    return min((result.rmse for result in results if result.rmse is not None), default=math.inf)
