"""Results of an experiment: each arm's figures, the differences between arms, the verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from recsys.types import FloatArray, JsonObject
from serving.domain import ExperimentKind, ExperimentState
from serving.experiments import sample_ratio
from serving.experiments.aggregates import Aggregates, ArmAggregates, UserAggregates
from serving.experiments.betting import Evidence, bet
from serving.experiments.difference import Difference, difference
from serving.experiments.entrants import Entrants, entrants, planned_shares
from serving.experiments.experiment_metrics import ACCURACY, Metric, words_of
from serving.experiments.guardrails import SQUARED_ERROR_CAP, Limits, alarms, guardrails
from serving.experiments.segments import Segment
from serving.experiments.verdict import ExperimentDecision, Verdict, decide_experiment


@dataclass(frozen=True)
class Interval:
    """A confidence sequence: ``low`` <= true value <= ``high`` at all times, with probability 1 -
    ``alpha``."""

    estimate: float
    low: float
    high: float
    alpha: float


@dataclass(frozen=True)
class ArmResult:
    """One arm. ``hit_rate`` is conversions per exposure, ``rmse`` is in stars on users' ratings. In
    interleaved lists ``brought`` counts the arm's items, ``credited`` the conversions on them."""

    arm: str
    users: int
    users_matured: int
    exposures: int
    conversions: int
    hit_rate: float | None
    rmse: float | None
    ratings: int
    p50_milliseconds: float | None
    p99_milliseconds: float | None
    fallbacks: int
    items_shown: int
    brought: int = 0
    credited: int = 0


@dataclass(frozen=True)
class PreferenceCounts:
    """Users whose conversions favour the treatment, the control, or neither (``ties``)."""

    treatment: int
    control: int
    ties: int


@dataclass(frozen=True)
class ArmComparison:
    """A treatment against the first arm on ``metric`` (larger is better): the difference of the arms' means,
    or for ``kind`` "interleaved" the users' mean preference (see ``preference``)."""

    metric: str
    treatment: str
    control: str
    difference: Difference | None
    interval: Interval | None
    verdict: Verdict
    primary: bool
    sample_ratio_p: float
    segment: str | None = None
    evidence: Evidence | None = None
    kind: ExperimentKind = "split"
    preferences: PreferenceCounts | None = None


def arm_result(name: str, aggregates: Aggregates, now: float) -> ArmResult:
    """The figures of one arm at ``now``, Unix seconds."""
    arm = aggregates.by_arm.get(name, ArmAggregates())
    users = [user for user in aggregates.users.values() if user.arm == name]
    fallbacks = arm.sources["popular"]
    return ArmResult(
        arm=name,
        users=len(users),
        users_matured=sum(aggregates.matured(user, now) for user in users),
        exposures=arm.exposures,
        conversions=arm.conversions,
        hit_rate=arm.conversions / arm.exposures if arm.exposures else None,
        rmse=math.sqrt(arm.squared_error / arm.rated) if arm.rated else None,
        ratings=arm.rated,
        p50_milliseconds=arm.percentile(0.5),
        p99_milliseconds=arm.percentile(0.99),
        fallbacks=fallbacks,
        items_shown=len(arm.items),
        brought=arm.brought,
        credited=arm.credited,
    )


def errors(users: Sequence[UserAggregates]) -> FloatArray:
    """(n,) mean squared error of each user; all of them have rated."""
    return np.array([user.squared_error / user.rated for user in users], dtype=np.float64)


def outcomes(users: Sequence[UserAggregates], metric: Metric) -> FloatArray:
    """(n,) mean worth of each user's lists, served or seen, between 0 and the metric's bound."""
    lists = [user.exposures if metric.exposures == "served" else user.seen for user in users]
    worth = [user.worth.get(metric.name, 0.0) for user in users]
    return np.array([w / max(1, n) for w, n in zip(worth, lists, strict=True)]).clip(0.0, metric.bound)


def compare(
    aggregates: Aggregates,
    history: Sequence[ExperimentState],
    *,
    control: str,
    treatment: str,
    metric: str,
    limits: Limits,
    now: float,
    covariate: Mapping[str, float] | None = None,
    lost_events: int = 0,
    treatments: int = 1,
    segment: Segment | None = None,
) -> ArmComparison:
    """Compare a treatment with the control by the bets of ``betting``.

    Users count once, in the order of their entry, in their first arm, with the shares of the revision at
    which they entered.

    Args:
        aggregates: exposures and feedback.
        history: the experiment's revisions, for the shares.
        covariate: a figure of each user from before their entry (0 for others).
        lost_events: number of events known to be lost.
        treatments: number of arms compared with this control; alpha is divided over them.
        segment: compare these users alone, as a secondary result.
    """
    tests = treatments * (segment.of if segment else 1)

    def include(user_id: str, user: UserAggregates) -> bool:
        return (segment is None or user_id in segment.users) and aggregates.matured(user, now)

    shares = planned_shares(history)
    entered = entrants(aggregates, shares, control=control, treatment=treatment, include=include)
    for user in entered.users:
        user.counted = True
    rated = metric == ACCURACY
    differ = rated and _rating_differs(entered)
    if rated:
        entered = entered.rated()
    treated = entered.treated
    covariates = (
        None if covariate is None else np.array([covariate.get(name, 0.0) for name in entered.user_ids])
    )
    measured = next((candidate for candidate in aggregates.metrics if candidate.name == metric), None)
    if measured is None and not rated:
        raise ValueError(
            f"no metric {metric!r}; there are {[measure.name for measure in aggregates.metrics]}"
        )
    values = -errors(entered.users) if measured is None else outcomes(entered.users, measured)
    cap = limits.squared_error_cap or SQUARED_ERROR_CAP
    evidence = bet(
        values if measured else cap + values,
        treated,
        entered.shares,
        bound=measured.bound if measured else cap,
        kind="rate" if measured else "error",
        covariate=covariates,
        treatments=tests,
        alpha=limits.alpha,
    )
    ready = min(int(treated.sum()), int((~treated).sum())) >= 2
    everyone = list(aggregates.users.values())
    mature = [user for user in everyone if aggregates.matured(user, now)]
    parts = [everyone] if len(mature) == len(everyone) else [everyone, mature]
    ratio = min(  # of all who entered, and of those whose outcome is fixed
        (sample_ratio.check(users_assigned(history, part)) for part in parts),
        key=lambda test: test.p_value,
    )
    primary = metric == limits.primary and segment is None
    rails = (
        guardrails(
            aggregates, shares, control=control, treatment=treatment, limits=limits, treatments=treatments
        )
        if primary
        else []
    )
    verdict = decide_experiment(
        ratio, evidence, rails, primary=primary, lost_events=lost_events, control_mean=_mean(values[~treated])
    )
    if differ:
        verdict = Verdict(
            ExperimentDecision.NONE,
            "No verdict: the arms differ in who rates, so their errors are of different people's ratings.",
        )
    span = Interval(evidence.estimate, evidence.low, evidence.high, limits.alpha / tests)
    return ArmComparison(
        metric=metric,
        treatment=treatment,
        control=control,
        difference=difference(values, treated, covariates) if ready else None,
        interval=span if ready else None,
        verdict=verdict,
        primary=primary,
        sample_ratio_p=ratio.p_value,
        segment=segment.name if segment else None,
        evidence=evidence,
    )


def _rating_differs(entered: Entrants) -> bool:
    """Whether users of one arm rate more often, so that who rated was selected after the treatment."""
    evidence = bet(
        np.array([user.rated > 0 for user in entered.users], dtype=np.float64),
        entered.treated,
        entered.shares,
        alpha=sample_ratio.BLOCK_BELOW,
    )
    return evidence.ships or evidence.stops


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None


def users_assigned(
    history: Sequence[ExperimentState], users: Sequence[UserAggregates]
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Users who entered each arm at each revision, with the planned shares; arms of all revisions, in the
    order of the newest."""
    counts = Counter((user.revision, user.arm) for user in users)
    entries = {revision for revision, _ in counts}
    stages = []
    by_revision = sorted(planned_shares(history).items())
    arms = list(dict.fromkeys(name for _, planned in reversed(by_revision) for name in planned))
    for revision, planned in by_revision:
        shares = tuple(planned.get(name, 0.0) for name in arms)
        if revision in entries and sum(share > 0 for share in shares) > 1:
            entered = tuple(
                n if share > 0 else 0
                for n, share in zip((counts[revision, a] for a in arms), shares, strict=True)
            )
            stages.append((entered, shares))
    return stages


def as_json(
    arms: Sequence[ArmResult],
    comparisons: Sequence[ArmComparison],
    aggregates: Aggregates,
    limits: Limits,
    *,
    segments: Sequence[ArmComparison] = (),
) -> JsonObject:
    """The body of ``GET /v1/experiments/{name}/results``."""

    def row(comparison: ArmComparison) -> JsonObject:
        body = asdict(comparison)
        body["verdict"]["decision"] = comparison.verdict.decision.value
        del body["evidence"]
        return body

    return {
        "arms": [asdict(arm) for arm in arms],
        "comparisons": [row(comparison) for comparison in comparisons],
        "segments": [row(comparison) for comparison in segments],
        "crossed_users": sum(user.crossed for user in aggregates.users.values()),
        "alarms": alarms(aggregates, [arm.arm for arm in arms], limits),
        "left_out": dict(aggregates.left_out),
        "window_seconds": aggregates.window_seconds,
        "window": words_of(aggregates.window_seconds),
    }
