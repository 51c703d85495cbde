"""Guardrails of one roll-out stage, from the events stored since it began.

The candidate is compared with the baseline in the same stage by the bets of the verdicts: users in the arm of
their first list of the stage, with the stage's shares. Without a second arm to compare with, shadow answers
are compared with the baseline's of the same time, and the last stage by the absolute limit.
"""

from __future__ import annotations

from serving.domain import ExperimentState
from serving.experiments.aggregates import Aggregates, ArmAggregates
from serving.experiments.betting import bet
from serving.experiments.entrants import entrants, planned_shares
from serving.experiments.guardrails import (
    ALPHA,
    FALLBACK,
    RAILS,
    SLOW,
    SQUARED_ERROR_CAP,
    Limits,
    guardrails,
    too_many,
    worse_in_time,
)
from serving.experiments.outcomes import errors
from serving.rollout.policy import GuardrailReading, RolloutPlan


def stage_aggregates(plan: RolloutPlan, arms: frozenset[str]) -> Aggregates:
    """Empty aggregates. A user's window is a twelfth of the stage, a block of time a sixtieth."""
    return Aggregates(
        arms=arms,
        window_seconds=plan.hold_seconds / 12,
        slow_milliseconds=plan.slow_milliseconds,
        block_seconds=plan.hold_seconds / 60,
    )


def read_guardrails(
    aggregates: Aggregates, plan: RolloutPlan, state: ExperimentState, *, now: float, lost_events: int = 0
) -> GuardrailReading:
    """The candidate's guardrails at ``now`` (Unix seconds); ``lost_events`` were lost since the stage
    began."""
    new = aggregates.by_arm.get(plan.candidate, ArmAggregates())
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
        broken = _in_shadow(aggregates, plan)
    elif old_share == 0:
        broken = over
    else:
        broken = _against_baseline(aggregates, plan, state) or worse_error(aggregates, plan, state, now=now)
    return GuardrailReading(answers, broken=broken, over_limit=over, lost_events=lost_events)


def _against_baseline(aggregates: Aggregates, plan: RolloutPlan, state: ExperimentState) -> str | None:
    limits = Limits(p99_milliseconds=plan.slow_milliseconds, extra_fallbacks=plan.fallback_share)
    rails = guardrails(
        aggregates,
        planned_shares([state]),
        control=plan.baseline,
        treatment=plan.candidate,
        limits=limits,
        slow_share=plan.slow_share,
    )
    return next((rail.words() for rail in rails if rail.broken), None)


def _in_shadow(aggregates: Aggregates, plan: RolloutPlan) -> str | None:
    """Compare shadow answers with the shown ones of the same time, by shares and by blocks of time."""
    old, new = (aggregates.by_arm.get(name, ArmAggregates()) for name in (plan.baseline, plan.candidate))
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


def worse_error(
    aggregates: Aggregates, plan: RolloutPlan, state: ExperimentState, *, now: float
) -> str | None:
    """Whether the candidate's squared error is above the baseline's, over users who rated; as text, or
    None."""
    raters = entrants(
        aggregates,
        planned_shares([state]),
        control=plan.baseline,
        treatment=plan.candidate,
        include=lambda _, user: user.rated > 0 and aggregates.matured(user, now),
    )
    evidence = bet(
        SQUARED_ERROR_CAP - errors(raters.users),
        raters.treated,
        raters.shares,
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
