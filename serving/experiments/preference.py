"""Interleaved experiments: which arm's items people convert on, person by person.

Everybody sees both arms' items, so each person is a comparison of their own, and what makes people differ
(how often they come, how readily they click) drops out: it takes a fraction of the people of a split. A
person's preference is the sign of the treatment's credit minus the control's within the window: +1, -1, or 0
without a difference. Its mean is a preference, no lift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.types import FloatArray
from serving.experiments import sample_ratio
from serving.experiments.aggregates import Aggregates, UserAggregates
from serving.experiments.betting import bet_on_preference
from serving.experiments.guardrails import Limits
from serving.experiments.outcomes import ArmComparison, Interval, PreferenceCounts, matured
from serving.experiments.segments import Segment
from serving.experiments.verdict import decide_experiment


def preferences(users: Sequence[UserAggregates], metric: str, *, control: str, treatment: str) -> FloatArray:
    """(n,) the sign of the treatment's credit minus the control's of each user: 1, 0 or -1."""
    credits = [
        user.credit.get((metric, treatment), 0.0) - user.credit.get((metric, control), 0.0) for user in users
    ]
    signs: FloatArray = np.sign(np.round(np.array(credits, dtype=np.float64), 9))
    return signs


def compare_preferences(
    tally: Aggregates,
    *,
    control: str,
    treatment: str,
    metric: str,
    limits: Limits,
    now: float,
    lost_events: int = 0,
    treatments: int = 1,
    segment: Segment | None = None,
) -> ArmComparison:
    """A treatment against the control in interleaved lists, by the bets of ``betting``.

    Args:
        tally: what was shown and done while the same arms took part.
        lost_events: events known to be lost.
        treatments: how many are compared with this control; alpha is divided over them.
        segment: only these users, as a secondary figure.
    """
    tests = treatments * (segment.of if segment else 1)
    chosen = []
    for user_id, user in tally.users.items():
        inside = segment is None or user_id in segment.users
        if inside and user.merged and matured(user, tally, now):
            user.counted = True
            chosen.append((user.first_at, user_id, user))
    chosen.sort(key=lambda row: row[:2])
    signs = preferences([row[2] for row in chosen], metric, control=control, treatment=treatment)
    evidence = bet_on_preference(signs, treatments=tests, alpha=limits.alpha)
    primary = metric == limits.primary and segment is None
    verdict = decide_experiment(
        sample_ratio.check([]), evidence, primary=primary, lost_events=lost_events, preference=True
    )
    return ArmComparison(
        metric=metric,
        treatment=treatment,
        control=control,
        difference=None,
        interval=Interval(evidence.estimate, evidence.low, evidence.high, limits.alpha / tests)
        if chosen
        else None,
        verdict=verdict,
        primary=primary,
        sample_ratio_p=1.0,
        segment=segment.name if segment else None,
        evidence=evidence,
        kind="interleaved",
        preferences=PreferenceCounts(*(int((signs == sign).sum()) for sign in (1, -1, 0))),
    )
