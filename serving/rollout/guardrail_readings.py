"""The guardrails' figures of one stage, from what was stored since it began.

The candidate is held against the baseline of the same stage by the bets of the verdicts: users in the arm
of their first list in the stage, with the stage's shares. Where there is no other arm to compare with (shadow
answers, everybody moved) the same minutes and the absolute limit have to do.
"""

from __future__ import annotations

import numpy as np

from serving.domain import ExperimentState
from serving.experiments.aggregates import Aggregates, ArmAggregates
from serving.experiments.betting import bet
from serving.experiments.guardrails import (
    ALPHA,
    FALLBACK,
    RAILS,
    SLOW,
    Limits,
    guardrails,
    too_many,
    worse_in_time,
)
from serving.experiments.outcomes import errors, matured, planned_shares
from serving.rollout.policy import GuardrailReading, RolloutPlan

SQUARED_ERROR_CAP = 4.0


def stage_tally(plan: RolloutPlan, arms: frozenset[str]) -> Aggregates:
    """Empty. A user's outcome is fixed a twelfth of a stage after their first list; bursts are told apart by
    sixtieths of it."""
    return Aggregates(
        arms=arms,
        window_seconds=plan.hold_seconds / 12,
        slow_milliseconds=plan.slow_milliseconds,
        block_seconds=plan.hold_seconds / 60,
    )


def read_guardrails(
    tally: Aggregates, plan: RolloutPlan, state: ExperimentState, *, now: float, lost_events: int = 0
) -> GuardrailReading:
    """``lost_events`` counts events known to be lost since the stage began, ``now`` is Unix seconds."""
    new = tally.by_arm.get(plan.candidate, ArmAggregates())
    answers = new.exposures + new.shadows
    slow = sum(counts[SLOW] for counts in new.blocks.values())
    over = None
    if too_many(slow, answers, plan.slow_share):
        over = (
            f"{slow} of {answers} answers took over {plan.slow_milliseconds:g} ms; {plan.slow_share:.0%} may"
        )
    shares = planned_shares([state])[state.revision]
    old_share, new_share = shares.get(plan.baseline, 0.0), shares.get(plan.candidate, 0.0)
    if new_share == 0:
        broken = _in_shadow(tally, plan)
    elif old_share == 0:
        broken = over
    else:
        broken = _against_baseline(tally, plan, state) or worse_error(tally, plan, state, now=now)
    return GuardrailReading(answers, broken=broken, over_limit=over, lost_events=lost_events)


def _against_baseline(tally: Aggregates, plan: RolloutPlan, state: ExperimentState) -> str | None:
    limits = Limits(p99_milliseconds=plan.slow_milliseconds, extra_fallbacks=plan.fallback_share)
    rails = guardrails(
        tally,
        planned_shares([state]),
        control=plan.baseline,
        treatment=plan.candidate,
        limits=limits,
        slow_share=plan.slow_share,
    )
    return next((rail.words() for rail in rails if rail.broken), None)


def _in_shadow(tally: Aggregates, plan: RolloutPlan) -> str | None:
    """Every shadow answer stands beside a shown one of the same moment: shares and stretches of time."""
    old, new = (tally.by_arm.get(name, ArmAggregates()) for name in (plan.baseline, plan.candidate))
    for figure, extra, words in (
        (SLOW, plan.slow_share, f"took over {plan.slow_milliseconds:g} ms"),
        (FALLBACK, plan.fallback_share, "were fallbacks"),
    ):
        (answers, bad), (before, usual) = (_counts(arm, figure) for arm in (new, old))
        allowed = extra + (usual / before if before else 0.0)
        if too_many(bad, answers, allowed) and worse_in_time(old, new, figure, tolerance=extra):
            return f"{bad} of {answers} shadow answers {words}; {allowed:.1%} may"
    return None


def _counts(arm: ArmAggregates, figure: int) -> tuple[int, int]:
    rows = arm.blocks.values()
    return sum(counts[0] for counts in rows), sum(counts[figure] for counts in rows)


def worse_error(tally: Aggregates, plan: RolloutPlan, state: ExperimentState, *, now: float) -> str | None:
    """Whether the candidate's squared error is above the baseline's, over users who rated, in words."""
    shares = planned_shares([state])
    raters = []
    for name, user in tally.users.items():
        planned = shares.get(user.revision, {})
        pair = (planned.get(plan.baseline, 0.0), planned.get(plan.candidate, 0.0))
        inside = user.arm in (plan.baseline, plan.candidate) and min(pair) > 0
        if inside and user.rated and matured(user, tally, now):
            raters.append((user.first_at, name, user, pair[1] / sum(pair)))
    raters.sort(key=lambda row: row[:2])
    users = [user for _, _, user, _ in raters]
    evidence = bet(
        SQUARED_ERROR_CAP - errors(users),
        np.array([user.arm == plan.candidate for user in users], dtype=np.bool_),
        np.array([share for *_, share in raters], dtype=np.float64),
        bound=SQUARED_ERROR_CAP,
        kind="error",
        alpha=ALPHA / RAILS,
    )
    if not evidence.stops or -evidence.high < plan.error_margin:
        return None
    least = max(0.0, -evidence.high)
    return (
        f"squared error is {-evidence.estimate:.4f} above the baseline's (at least {least:.4f}); "
        f"{plan.error_margin:g} may"
    )
