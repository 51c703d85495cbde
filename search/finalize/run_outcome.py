"""The Outcome of a run, put together from what was asked, done and found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from clusters.cluster_info import read_cluster_info
from recsys.training.trial_types import RunEvent, TrialResult, TrialStatus
from recsys.types import JsonObject
from search.finalize.finalizer import Findings
from search.finalize.software_versions import versions
from search.results.outcome import BudgetReport, Outcome, RunStatus
from search.run.budget import Meter
from search.run.context import RunContext
from search.storage.run_dir import RunFolder
from search.tune.ray_cluster import Resources
from search.tune.valid_ndcg import read_ndcg


def whole_outcome(
    prepared: RunContext,
    folder: RunFolder,
    findings: Findings,
    *,
    status: RunStatus,
    meter: Meter,
    now: float,
    resources: Resources | None,
) -> Outcome:
    """Everything there is to tell at ``now`` (Unix seconds)."""
    plan, budget = prepared.plan, meter.budget
    results = folder.results()
    return Outcome(
        name=folder.path.name,
        folder=folder.path,
        created=float(prepared.about["created"]),
        status=status,
        command=tuple(prepared.about["command"]),
        plan=plan.model_dump(mode="json"),
        dataset=prepared.dataset,
        split=prepared.split,
        trials=tuple(results),
        events=tuple(_all_events(folder, results)),
        formula=findings.formula,
        formula_recalibrated=findings.formula_recalibrated,
        template=findings.template,
        baselines=findings.baselines,
        best=findings.best,
        best_hybrid_vae=findings.best_hybrid_vae,
        ensemble=findings.ensemble,
        rating_intervals=findings.rating_intervals,
        interval_coverage=tuple(findings.interval_coverage),
        served_lists=findings.served_lists,
        recommender=findings.recommender,
        members=findings.members,
        blend_method=findings.blend_method,
        tuning=dict(Counter(result.spec.family for result in results)),
        budget=BudgetReport(
            usd=meter.usd(now),
            cap_usd=budget.max_usd,
            hours=meter.hours(now),
            cap_hours=None if np.isinf(budget.cap_hours) else budget.cap_hours,
            price_usd_per_hour=budget.price_usd,
            nodes=budget.nodes,
            reason=budget.explained(before_usd=meter.rented_before),
        ),
        seconds={**prepared.seconds, **findings.seconds},
        versions=versions(),
        front=front_of(results, folder.path) if len(plan.objectives) > 1 else (),
        ndcg_at_10=ndcg_of(results, folder.path) if len(plan.objectives) > 1 else {},
        samples=findings.samples,
        list_check=findings.list_check,
        lists=findings.lists,
        cluster=where_it_ran(prepared, resources),
        refit=findings.refit,
        warm_start=prepared.warm_start,
        forecasts=tuple(prepared.about.get("forecasts", ())),
        gate_predictions=findings.gate_predictions,
    )


def _all_events(folder: RunFolder, results: list[TrialResult]) -> list[RunEvent]:
    """The journal's events with the trials' own (which know what came of an action), each once."""
    own = {(event.trial, event.epoch, event.kind) for result in results for event in result.events}
    told = [event for event in folder.events() if (event.trial, event.epoch, event.kind) not in own]
    events = told + [event for result in results for event in result.events]
    return sorted(events, key=lambda event: event.at)


def ndcg_of(results: list[TrialResult], run: Path) -> dict[int, float]:
    """NDCG@10 on valid of every trial that has it."""
    found = {result.spec.number: read_ndcg(run / result.folder) for result in results}
    return {number: ndcg for number, ndcg in found.items() if ndcg is not None}


def front_of(results: list[TrialResult], run: Path) -> tuple[int, ...]:
    """Trials that no other beats in both loss and NDCG@10 on valid."""
    known = ndcg_of(results, run)
    points = [
        (result.spec.number, result.loss, known[result.spec.number])
        for result in results
        if result.status is TrialStatus.FINISHED and result.loss is not None and result.spec.number in known
    ]
    return tuple(
        number
        for number, loss, ndcg in points
        if not any(
            (other_loss <= loss and other_ndcg >= ndcg) and (other_loss < loss or other_ndcg > ndcg)
            for _, other_loss, other_ndcg in points
        )
    )


def where_it_ran(prepared: RunContext, resources: Resources | None) -> JsonObject:
    """Nodes, CPUs and GPUs as Ray had them; on a rented cluster what was rented, too."""
    facts = read_cluster_info()
    rented = {} if facts is None else facts.shown()
    return {**prepared.about["cluster"], **({} if resources is None else resources.shown()), **rented}
