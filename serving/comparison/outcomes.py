"""From a tally to an answer: what each arm did, the differences, the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from recsys.types import FloatArray, JsonObject
from serving.comparison import sample_ratio
from serving.comparison.difference import Difference, difference
from serving.comparison.guardrails import Limits, guardrails
from serving.comparison.sequential import MINIMUM_USERS, Interval, interval
from serving.comparison.tally import ArmTally, Tally, UserTally
from serving.comparison.verdict import Verdict, decide
from serving.records import ExperimentState


@dataclass(frozen=True)
class ArmResult:
    """``hit_rate`` is conversions an exposure; ``rmse`` in stars on what users really rated."""

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


@dataclass(frozen=True)
class Comparison:
    """A treatment against the first arm, on ``metric`` (larger is better)."""

    metric: str
    treatment: str
    control: str
    difference: Difference | None
    interval: Interval | None
    verdict: Verdict


def arm_result(name: str, tally: Tally, now: float) -> ArmResult:
    arm = tally.by_arm.get(name, ArmTally())
    users = [user for user in tally.users.values() if user.arm == name]
    fallbacks = arm.sources["popular"]
    return ArmResult(
        arm=name,
        users=len(users),
        users_matured=sum(matured(user, tally, now) for user in users),
        exposures=arm.exposures,
        conversions=arm.conversions,
        hit_rate=arm.conversions / arm.exposures if arm.exposures else None,
        rmse=math.sqrt(arm.squared_error / arm.rated) if arm.rated else None,
        ratings=arm.rated,
        p50_milliseconds=arm.percentile(0.5),
        p99_milliseconds=arm.percentile(0.99),
        fallbacks=fallbacks,
        items_shown=len(arm.items),
    )


def matured(user: UserTally, tally: Tally, now: float) -> bool:
    return not user.crossed and now >= user.first_at + tally.window_seconds


def outcomes(users: Sequence[UserTally], metric: str) -> FloatArray:
    """(n,) outcomes: "hit_rate" is hits an exposure; "accuracy" minus the mean squared error."""
    if metric == "hit_rate":
        return np.array([user.hits / max(1, user.exposures) for user in users], dtype=np.float64)
    if metric == "accuracy":
        return np.array([-user.squared_error / user.rated for user in users], dtype=np.float64)
    raise ValueError(f"expected the metric hit_rate or accuracy, got {metric!r}")


def compare(
    tally: Tally,
    *,
    control: str,
    treatment: str,
    metric: str,
    stages: Sequence[tuple[Sequence[int], Sequence[float]]],
    limits: Limits,
    now: float,
    covariate: Mapping[str, float] | None = None,
    holes: int = 0,
) -> Comparison:
    """``stages`` are users entered and planned shares for each setting of the shares, (control, treatment);
    ``covariate`` is what was known of a user before (0 for others): CUPED uses it."""
    chosen = [
        (user_id, user)
        for user_id, user in tally.users.items()
        if user.arm in (control, treatment)
        and matured(user, tally, now)
        and (metric != "accuracy" or user.rated)
    ]
    users = [user for _, user in chosen]
    treated = np.array([user.arm == treatment for user in users], dtype=np.bool_)
    known = None
    if covariate is not None:
        known = np.array([covariate.get(user_id, 0.0) for user_id, _ in chosen], dtype=np.float64)
    found, span = None, None
    fewest = min(int(treated.sum()), int((~treated).sum()))
    if fewest >= MINIMUM_USERS:
        found = difference(outcomes(users, metric), treated, known)
        span = interval(
            found.estimate, found.standard_error, found.users, planned=limits.planned, alpha=limits.alpha
        )
    ratio = sample_ratio.check(stages)
    rails = guardrails(tally, control=control, treatment=treatment, limits=limits)
    verdict = decide(ratio, found, span, rails, planned=limits.planned, holes=holes, fewest=fewest)
    return Comparison(metric, treatment, control, found, span, verdict)


def entered(
    tally: Tally, history: Sequence[ExperimentState], *, control: str, treatment: str
) -> list[tuple[tuple[int, int], tuple[float, float]]]:
    """Users who entered at each revision with the shares that then held, for the sample-ratio test."""
    shares = {state.revision: {arm.name: arm.share for arm in state.arms} for state in history}
    counts: dict[int, list[int]] = {}
    for user in tally.users.values():
        if user.arm in (control, treatment):
            counts.setdefault(user.revision, [0, 0])[user.arm == treatment] += 1
    stages = []
    for revision, (first, second) in sorted(counts.items()):
        planned = shares.get(revision, {})
        pair = (planned.get(control, 0.0), planned.get(treatment, 0.0))
        if min(pair) > 0:
            stages.append(((first, second), pair))
    return stages


def as_json(arms: Sequence[ArmResult], comparisons: Sequence[Comparison], tally: Tally) -> JsonObject:
    """The body of ``GET /v1/experiments/{name}/results``, times and shares as plain numbers."""

    def row(comparison: Comparison) -> JsonObject:
        body = asdict(comparison)
        body["verdict"]["decision"] = comparison.verdict.decision.value
        return body

    return {
        "arms": [asdict(arm) for arm in arms],
        "comparisons": [row(comparison) for comparison in comparisons],
        "crossed_users": sum(user.crossed for user in tally.users.values()),
        "left_out": dict(tally.left_out),
        "window_seconds": tally.window_seconds,
    }
