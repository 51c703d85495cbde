"""The guardrails' figures of one stage, from what was stored since it began."""

from __future__ import annotations

import numpy as np

from serving.experiments.aggregates import Aggregates, ArmAggregates
from serving.experiments.difference import difference
from serving.experiments.outcomes import outcomes
from serving.experiments.sequential import MINIMUM_USERS, interval
from serving.rollout.policy import GuardrailReading, RolloutPlan

# Chance that the interval of the online error ever excludes zero without cause, in one stage.
ALPHA = 0.01
PLANNED_USERS = 2000


def read_guardrails(tally: Aggregates, plan: RolloutPlan, *, lost_events: int = 0) -> GuardrailReading:
    """``lost_events`` counts events known to be lost since the stage began."""
    new, old = (
        tally.by_arm.get(plan.candidate, ArmAggregates()),
        tally.by_arm.get(plan.baseline, ArmAggregates()),
    )
    return GuardrailReading(
        exposures=new.exposures + new.shadows,
        slow=new.slower_than(plan.slow_milliseconds),
        fallbacks=new.sources["popular"] + new.shadow_fallbacks,
        baseline_fallback_share=old.sources["popular"] / old.exposures if old.exposures else 0.0,
        error_low=error_low(tally, plan),
        lost_events=lost_events,
    )


def error_low(tally: Aggregates, plan: RolloutPlan) -> float | None:
    """Lower end of the candidate's mean squared error minus the baseline's, over users who rated."""
    users = [
        user
        for user in tally.users.values()
        if user.rated and not user.crossed and user.arm in (plan.candidate, plan.baseline)
    ]
    treated = np.array([user.arm == plan.candidate for user in users], dtype=np.bool_)
    if min(int(treated.sum()), int((~treated).sum())) < MINIMUM_USERS:
        return None
    found = difference(-outcomes(users, "accuracy"), treated)
    span = interval(found.estimate, found.standard_error, found.users, planned=PLANNED_USERS, alpha=ALPHA)
    return span.low
