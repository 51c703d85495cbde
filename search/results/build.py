"""Parts of results.json made from a run's data, split, trials, events and forecasts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from recsys.data.dataset import Dataset
from recsys.data.split import Split
from recsys.ensemble.rating_intervals import BandCoverage, RatingIntervals
from recsys.training.serialization import plain
from recsys.training.trial_types import MILESTONES, EventKind, RunEvent, TrialResult, TrialStatus
from recsys.types import JsonObject
from search.results.metrics import IntervalBand, RatingIntervalSummary
from search.results.schema import (
    BudgetSummary,
    DatasetFacts,
    EventRecord,
    ForecastRecord,
    QualityFacts,
    Results,
    SplitFacts,
)


def start_results(
    *,
    name: str,
    command: Sequence[str],
    started: float,
    plan: JsonObject,
    dataset: Dataset,
    split: Split,
    trials: Sequence[TrialResult],
) -> Results:
    """The results of a run whose trials have ended and whose models are not judged yet.

    Args:
        name: The run's.
        command: Its command line.
        started: Unix seconds.
        plan: The search plan as run.
        dataset: Its data.
        split: How the data was cut.
        trials: All that ended.
    """
    return Results(
        name=name,
        command=list(command),
        seed=int(plan.get("seed", split.seed)),
        started=started,
        plan=plain(plan),
        dataset=_dataset(dataset),
        split=SplitFacts(
            protocol=split.protocol, seed=split.seed, fingerprint=split.fingerprint, **split.counts()
        ),
        trials=dict(Counter(trial.status.value for trial in trials)),
        tuning=dict(Counter(trial.spec.family for trial in trials)),
        budget=BudgetSummary(),
    )


def add_events(results: Results, events: Iterable[RunEvent]) -> None:
    """Sort ``events`` into ``warnings``, ``contingencies`` and ``milestones`` of ``results``."""
    for event in events:
        record = EventRecord.model_validate(plain(event))
        if event.kind is EventKind.CONTINGENCY:
            results.contingencies.append(record)
        elif event.kind in MILESTONES or event.kind is EventKind.TRIAL_FAILED:
            results.milestones.append(record)
        else:
            results.warnings.append(record)


def forecast_records(
    forecasts: Iterable[JsonObject], *, trials: Sequence[TrialResult], hours: float
) -> list[ForecastRecord]:
    """Each forecast beside what came: the trials that ended, and the run's ``hours``."""
    ended = sum(trial.status in (TrialStatus.FINISHED, TrialStatus.PRUNED) for trial in trials)
    return [
        ForecastRecord(
            **row,
            trials_error=row["trials"] / ended - 1 if ended else None,
            hours_error=row["hours"] / hours - 1 if hours > 0 else None,
        )
        for row in forecasts
    ]


def rating_interval_summary(
    intervals: RatingIntervals, bands: Sequence[BandCoverage]
) -> RatingIntervalSummary | None:
    """Coverage of prediction intervals on test, in bands of user activity; None without a band."""
    if not bands:
        return None
    rows = sum(band.rows for band in bands)
    return RatingIntervalSummary(
        level=intervals.level,
        coverage=sum(band.coverage * band.rows for band in bands) / rows,
        bands=[
            IntervalBand(
                least_ratings=band.least_ratings, ratings=band.rows, coverage=band.coverage, width=band.width
            )
            for band in bands
        ],
    )


def _dataset(dataset: Dataset) -> DatasetFacts:
    ratings = dataset.ratings
    quality = plain(dataclasses.asdict(dataset.quality))
    return DatasetFacts(
        name=dataset.name,
        ratings=len(ratings),
        users=ratings.user_count,
        items=ratings.item_count,
        sha256=dataset.sha256,
        licence=dataset.licence,
        lineage=dataset.lineage,
        scale=(ratings.scale.low, ratings.scale.high),
        quality=QualityFacts(
            **{name: value for name, value in quality.items() if name in QualityFacts.model_fields}
        ),
    )
