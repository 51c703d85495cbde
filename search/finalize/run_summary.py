"""The run-level fields of results.json: cost, events, forecasts, Pareto front, machines."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from clusters.cluster_info import read_cluster_info
from recsys.training.serialization import plain
from recsys.training.trial_types import RunEvent, TrialResult, TrialStatus
from recsys.types import JsonObject
from search.results.build import add_events, forecast_records
from search.results.metrics import metrics_on
from search.results.run_info import BudgetSummary, RunStatus
from search.results.schema import Results
from search.run.budget import Meter
from search.run.context import RunContext
from search.storage.run_dir import RunFolder
from search.tune.ray_cluster import Resources
from search.tune.valid_ndcg import read_ndcg

PACKAGES = ("movielens-breakthrough", "ray", "torch", "optuna", "numpy", "pandas", "mlflow")
IMPROVEMENT = 0.01  # of rmse: the unit of "cost per improvement"


def summarize_run(
    results: Results,
    context: RunContext,
    folder: RunFolder,
    trials: list[TrialResult],
    *,
    status: RunStatus,
    meter: Meter,
    now: float,
    resources: Resources | None,
) -> None:
    """Fill in the run-level results at its end (``now``, Unix seconds), once its models are evaluated.

    Args:
        results: Of the run, as the ``Finalizer`` leaves them.
        context: What was asked for, and the data.
        folder: The run's.
        trials: All that ended.
        status: What ended the run.
        meter: Its clock and price.
        now: Unix seconds.
        resources: What Ray had; None where nothing was trained.
    """
    results.status, results.warm_start = status, context.warm_start
    add_events(results, _all_events(folder, trials))
    if len(context.plan.objectives) > 1:
        results.ndcg_at_10 = ndcg_of(trials, folder.path)
        results.front = pareto_front(trials, results.ndcg_at_10)
    results.budget = _budget(results, trials, meter, now)
    results.forecasts = forecast_records(
        context.about.get("forecasts", ()), trials=trials, hours=results.budget.hours
    )
    results.cluster = plain(where_it_ran(context, resources))
    results.seconds = {**context.seconds, **results.seconds}
    results.versions = software_versions()


def _budget(results: Results, trials: list[TrialResult], meter: Meter, now: float) -> BudgetSummary:
    budget, usd = meter.budget, meter.usd(now)
    seconds = [trial.seconds for trial in trials if trial.seconds > 0 and trial.spec.track == "rating"]
    before, after = (metrics_on(model, "valid").rmse for model in (results.formula, results.best))
    won = before - after if before is not None and after is not None else 0.0
    return BudgetSummary(
        usd=usd,
        cap_usd=budget.max_usd,
        hours=meter.hours(now),
        cap_hours=None if np.isinf(budget.cap_hours) else budget.cap_hours,
        price_per_hour_usd=budget.price_usd,
        nodes=budget.nodes,
        computed=budget.explained(before_usd=meter.rented_before),
        usd_per_trial=usd / len(trials) if trials else None,
        usd_per_improvement=usd / (won / IMPROVEMENT) if usd > 0 and won > 0 else None,
        seconds_per_trial=float(np.median(seconds)) if seconds else None,
    )


def _all_events(folder: RunFolder, results: list[TrialResult]) -> list[RunEvent]:
    """The journal's events with the trials' own (which know what came of an action), each once."""
    of_trials = [event for result in results for event in result.events]
    recorded = {(event.trial, event.epoch, event.kind) for event in of_trials}
    others = [event for event in folder.events() if (event.trial, event.epoch, event.kind) not in recorded]
    return sorted(others + of_trials, key=lambda event: event.at)


def ndcg_of(results: list[TrialResult], run: Path) -> dict[int, float]:
    """NDCG@10 on valid of every trial that has it."""
    figures = {result.spec.number: read_ndcg(run / result.folder) for result in results}
    return {number: ndcg for number, ndcg in figures.items() if ndcg is not None}


def pareto_front(results: list[TrialResult], ndcg_at_10: dict[int, float]) -> list[int]:
    """Trials that no other beats in both loss and NDCG@10 on valid."""
    points = [
        (result.spec.number, result.loss, ndcg_at_10[result.spec.number])
        for result in results
        if result.status is TrialStatus.FINISHED
        and result.loss is not None
        and result.spec.number in ndcg_at_10
    ]
    return [
        number
        for number, loss, ndcg in points
        if not any(
            (other_loss <= loss and other_ndcg >= ndcg) and (other_loss < loss or other_ndcg > ndcg)
            for _, other_loss, other_ndcg in points
        )
    ]


def where_it_ran(context: RunContext, resources: Resources | None) -> JsonObject:
    """Nodes, CPUs and GPUs as Ray had them; on a rented cluster what was rented, too."""
    facts = read_cluster_info()
    rented = {} if facts is None else facts.shown()
    return {**context.about["cluster"], **({} if resources is None else resources.shown()), **rented}


def software_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that matter."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed
