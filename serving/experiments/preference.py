"""Results of interleaved experiments: the arm whose items each user converts on.

Every user sees the items of both arms, so each is a paired comparison, which removes differences between
users (how often they visit, how readily they click): it takes a fraction of the users of a split. A user's
preference is the sign of the treatment's credit minus the control's within the window: +1, -1, or 0 for a
tie. The mean is a preference, not a lift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.types import FloatArray
from serving.experiments import sample_ratio
from serving.experiments.aggregates import Aggregates, UserAggregates
from serving.experiments.betting import bet_on_preference
from serving.experiments.guardrails import Limits
from serving.experiments.outcomes import ArmComparison, Interval, PreferenceCounts
from serving.experiments.segments import Segment
from serving.experiments.verdict import decide_experiment


def preferences(users: Sequence[UserAggregates], metric: str, *, control: str, treatment: str) -> FloatArray:
    """(n,) sign of the treatment's credit minus the control's, by user."""
    credits = [
        user.credit.get((metric, treatment), 0.0) - user.credit.get((metric, control), 0.0) for user in users
    ]
    signs: FloatArray = np.sign(np.round(np.array(credits, dtype=np.float64), 9))
    return signs


def compare_preferences(
    aggregates: Aggregates,
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
    """Compare a treatment with the control in interleaved lists by the bets of ``betting``.

    Args: as ``outcomes.compare``; ``aggregates`` covers the time in which the same arms took part.
    """
    tests = treatments * (segment.of if segment else 1)
    chosen = []
    for user_id, user in aggregates.users.items():
        inside = segment is None or user_id in segment.users
        if inside and user.merged and aggregates.matured(user, now):
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
