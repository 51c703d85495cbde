"""From what a run came to (``Outcome``) to its results.json: figures, intervals, groups, verdicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.metrics.significance import values_of
from recsys.seeds import derive_seed
from recsys.training.trial_types import EventKind, RunEvent, TrialResult, TrialStatus
from recsys.types import JsonObject
from search.results.error_slices import error_groups
from search.results.intervals import Intervals
from search.results.metrics import IntervalBand, RatingIntervalSummary
from search.results.outcome import Entry, JudgedLists, Outcome
from search.results.schema import (
    BudgetSummary,
    DatasetFacts,
    EnsembleResult,
    EventRecord,
    ForecastRecord,
    JudgedListsResult,
    ListFigure,
    ListMemberResult,
    ListsResult,
    Member,
    Metrics,
    ModelResult,
    QualityFacts,
    RecommenderResult,
    Results,
    SampleItem,
    SampleList,
    SplitFacts,
)
from search.results.targets import judge
from search.storage.json_files import plain

MILESTONES = frozenset(
    {EventKind.STARTED, EventKind.NEW_BEST, EventKind.BUDGET, EventKind.TRIAL_FAILED, EventKind.FINISHED}
)
SAMPLES = 6
IMPROVEMENT = 0.01  # of rmse: the unit of "cost per improvement"


def build_results(outcome: Outcome, *, promotion: JsonObject | None = None) -> Results:
    """The document of a run, with a verdict for every target."""
    ensemble = _ensemble(outcome)
    look = _Look(outcome)
    results = Results(
        name=outcome.name,
        command=list(outcome.command),
        seed=int(outcome.plan.get("seed", outcome.split.seed)),
        started=outcome.created,
        status=outcome.status,
        warm_start=outcome.warm_start,
        plan=plain(outcome.plan),
        dataset=_dataset(outcome),
        split=SplitFacts(
            protocol=outcome.split.protocol,
            seed=outcome.split.seed,
            fingerprint=outcome.split.fingerprint,
            **outcome.split.counts(),
        ),
        formula=_model(outcome.formula),
        formula_recalibrated=_model(outcome.formula_recalibrated),
        template=_model(outcome.template),
        baselines={name: ModelResult(**_model_fields(entry)) for name, entry in outcome.baselines.items()},
        best=_model(outcome.best),
        best_hybrid_vae=_model(outcome.best_hybrid_vae),
        ensemble=ensemble,
        recommender=_recommender(outcome),
        lists=_lists(outcome),
        list_check=_figures(values_of(outcome.list_check.figures) if outcome.list_check else None),
        judged_lists=[
            _judged(lists) for lists in (outcome.served_lists, outcome.list_check) if lists is not None
        ],
        comparisons=look.comparisons(),
        intervals=look.intervals(),
        rating_intervals=_rating_intervals(outcome),
        errors=look.errors(),
        samples=[_sample(sample) for sample in outcome.samples[:SAMPLES]],
        trials=_count(trial.status.value for trial in outcome.trials),
        tuning=outcome.tuning,
        front=list(outcome.front),
        ndcg_at_10=outcome.ndcg_at_10,
        warnings=[_event(event) for event in outcome.events if _is_warning(event)],
        contingencies=[_event(event) for event in outcome.events if event.kind is EventKind.CONTINGENCY],
        milestones=[_event(event) for event in outcome.events if event.kind in MILESTONES],
        budget=_budget(outcome),
        forecasts=_forecasts(outcome),
        cluster=plain(outcome.cluster),
        refit=plain(outcome.refit),
        promotion=plain(promotion),
        seconds=outcome.seconds,
        versions=outcome.versions,
    )
    return results.model_copy(update={"targets": judge(results)})


class _Look:
    """The one look at test: every model that predicts ratings, on the same rows."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        entries: dict[str, Entry | None] = {
            "formula": outcome.formula,
            "formula_recalibrated": outcome.formula_recalibrated,
            "template": outcome.template,
            **outcome.baselines,
            "best_hybrid_vae": outcome.best_hybrid_vae,
            "best": outcome.best,
            "ensemble": outcome.ensemble,
        }
        self._predictions: dict[str, NDArray[np.float32]] = {}
        self._kl: dict[str, float] = {}
        for key, entry in entries.items():
            if entry is not None and entry.test_predictions is not None and len(entry.test_predictions):
                self._predictions[key] = entry.test_predictions
                self._kl[key] = (entry.test or {}).get("kl", 0.0)
        self._intervals: Intervals | None = None
        if self._predictions:
            self._ratings = outcome.dataset.ratings.take(outcome.split.test)
            self._intervals = Intervals(
                self._ratings,
                self._predictions,
                kl=self._kl,
                slice_name="test",
                seed=derive_seed(outcome.split.seed, "report", "bootstrap"),
            )

    def intervals(self) -> list[Any]:
        return self._intervals.alone() if self._intervals else []

    def comparisons(self) -> list[Any]:
        """The best and the ensemble against all that they should beat."""
        if self._intervals is None:
            return []
        known = self._predictions
        rivals = [key for key in known if key not in ("best", "ensemble")]
        pairs = [("best", rival) for rival in rivals] + [("ensemble", rival) for rival in [*rivals, "best"]]
        return [
            comparison
            for a, b in pairs
            if a in known and b in known
            for comparison in self._intervals.compare(a, b)
        ]

    def errors(self) -> list[Any]:
        if not self._predictions:
            return []
        shown = ("formula", "formula_recalibrated", "bias", "best", "ensemble")
        chosen = {key: self._predictions[key] for key in shown if key in self._predictions}
        split = self._outcome.split
        train = self._outcome.dataset.ratings.take(np.concatenate([split.train, split.fold_in]))
        return error_groups(self._ratings, chosen, train=train)


def _figures(figures: dict[str, float] | None) -> Metrics | None:
    if figures is None:
        return None
    known = Metrics.model_fields
    finite = {name: float(value) for name, value in figures.items() if name in known and np.isfinite(value)}
    return Metrics.model_validate(finite)


def _model_fields(entry: Entry) -> JsonObject:
    return {
        "name": entry.name,
        "family": entry.family,
        "trial": entry.trial,
        "parameters": entry.parameters,
        "config": plain(entry.config),
        "epochs": entry.epochs,
        "note": entry.note,
        "valid": _figures(entry.valid),
        "test": _figures(entry.test),
    }


def _model(entry: Entry | None) -> ModelResult | None:
    return None if entry is None else ModelResult(**_model_fields(entry))


def _ensemble(outcome: Outcome) -> EnsembleResult | None:
    if outcome.ensemble is None:
        return None
    trials: dict[int, TrialResult] = {trial.spec.number: trial for trial in outcome.trials}
    members = []
    for number, weight in sorted(outcome.members, key=lambda member: -member[1]):
        spec = trials[number].spec if number in trials else None
        members.append(
            Member(
                trial=number,
                name=spec.name if spec else f"trial {number}",
                family=spec.family if spec else "",
                weight=weight,
            )
        )
    return EnsembleResult(**_model_fields(outcome.ensemble), members=members, method=outcome.blend_method)


def _recommender(outcome: Outcome) -> RecommenderResult | None:
    entry = outcome.recommender
    if entry is None:
        return None
    card = _ranking(outcome.folder / "release") or entry.config
    return RecommenderResult(
        **_model_fields(entry),
        ranker=str(card.get("ranker") or entry.family),
        weights={name: float(value) for name, value in dict(card.get("weights") or {}).items()},
        candidates=card.get("candidates"),
    )


def _lists(outcome: Outcome) -> ListsResult | None:
    report = outcome.lists
    if not report:
        return None
    searched = {trial.spec.number for trial in outcome.trials if trial.list_metrics}
    blend = report.get("blend", {})
    chosen = [row for row in blend.get("candidates", []) if row["weight"] > 0]
    members = []
    for place, member in enumerate(report["recipe"]["members"]):
        row = chosen[place] if chosen else {}
        number = row.get("number")
        members.append(
            ListMemberResult(
                trial=number if number in searched else None,
                ndcg_at_10=row.get("ndcg_at_10"),
                **plain(member),
            )
        )
    tried = report.get("tried", [])
    return ListsResult(
        family=report["family"],
        selected_by=report.get("selected_by", ""),
        people=blend.get("people", 0),
        ndcg_at_10=blend.get("ndcg_at_10"),
        members=members,
        newcomers=report["recipe"]["newcomers"],
        trials={row["number"]: row["ndcg_at_10"] for row in tried if row["number"] in searched},
        reason=report["reason"],
    )


def _judged(lists: JudgedLists) -> JudgedListsResult:
    figures = []
    for name, figure in lists.figures.items():
        metric, _, at = name.partition("_at_")
        ends = {end: getattr(figure, end) for end in ("low", "high") if np.isfinite(getattr(figure, end))}
        figures.append(ListFigure(metric=metric, at=int(at) if at else None, value=figure.value, **ends))
    return JudgedListsResult(
        model=lists.model,
        protocol=lists.protocol,
        people=lists.people,
        folded_in=lists.folded_in,
        figures=figures,
    )


def _rating_intervals(outcome: Outcome) -> RatingIntervalSummary | None:
    bands = outcome.interval_coverage
    if outcome.rating_intervals is None or not bands:
        return None
    rows = sum(band.rows for band in bands)
    return RatingIntervalSummary(
        level=outcome.rating_intervals.level,
        coverage=sum(band.coverage * band.rows for band in bands) / rows,
        bands=[
            IntervalBand(
                least_ratings=band.least_ratings, ratings=band.rows, coverage=band.coverage, width=band.width
            )
            for band in bands
        ],
    )


def _ranking(release: Path) -> JsonObject:
    """The ranking card of the release that was just packed; {} where there is none."""
    from recsys.release.load import read_manifest  # brings torch, which readers of results do without

    try:
        return dict(read_manifest(release).ranking.model_dump(exclude={"report"}))
    except InputError:
        return {}


def _dataset(outcome: Outcome) -> DatasetFacts:
    dataset = outcome.dataset
    return DatasetFacts(
        name=dataset.name,
        ratings=len(dataset.ratings),
        users=dataset.ratings.user_count,
        items=dataset.ratings.item_count,
        sha256=dataset.sha256,
        licence=dataset.licence,
        lineage=dataset.lineage,
        scale=(dataset.ratings.scale.low, dataset.ratings.scale.high),
        quality=QualityFacts(
            **{
                name: plain(value)
                for name, value in dataclasses.asdict(dataset.quality).items()
                if name in QualityFacts.model_fields
            }
        ),
    )


def _forecasts(outcome: Outcome) -> list[ForecastRecord]:
    """Each forecast beside what came."""
    ended = sum(trial.status in (TrialStatus.FINISHED, TrialStatus.PRUNED) for trial in outcome.trials)
    came = outcome.budget.hours
    return [
        ForecastRecord(
            **row,
            trials_error=row["trials"] / ended - 1 if ended else None,
            hours_error=row["hours"] / came - 1 if came > 0 else None,
        )
        for row in outcome.forecasts
    ]


def _budget(outcome: Outcome) -> BudgetSummary:
    spent, trials = outcome.budget, outcome.trials
    seconds = [trial.seconds for trial in trials if trial.seconds > 0 and trial.spec.track == "rating"]
    won = None
    if outcome.formula and outcome.best and outcome.formula.valid and outcome.best.valid:
        won = outcome.formula.valid["rmse"] - outcome.best.valid["rmse"]
    paid = spent.usd > 0
    return BudgetSummary(
        usd=spent.usd,
        cap_usd=spent.cap_usd,
        hours=spent.hours,
        cap_hours=spent.cap_hours,
        price_per_hour_usd=spent.price_usd_per_hour,
        nodes=spent.nodes,
        computed=spent.reason,
        usd_per_trial=spent.usd / len(trials) if trials else None,
        usd_per_improvement=spent.usd / (won / IMPROVEMENT) if paid and won and won > 0 else None,
        seconds_per_trial=float(np.median(seconds)) if seconds else None,
    )


def _sample(sample: Any) -> SampleList:
    return SampleList(
        user=sample.user_id,
        rated=[
            SampleItem(title=liked) if isinstance(liked, str) else SampleItem(title=liked[0], stars=liked[1])
            for liked in sample.liked
        ],
        recommended=[SampleItem(title=title, stars=stars) for title, stars in sample.recommended],
    )


def _is_warning(event: RunEvent) -> bool:
    return event.kind not in MILESTONES and event.kind is not EventKind.CONTINGENCY


def _event(event: RunEvent) -> EventRecord:
    return EventRecord.model_validate(plain(event))


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
