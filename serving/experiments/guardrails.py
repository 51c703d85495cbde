"""Figures that must not get worse, whatever else gets better: slow answers, fallbacks, coverage.

Each is measured against the control at the same time, a user at a time, by the same bets as the verdict: a
busy machine slows both arms, a burst hits both, and one heavy user is one user. A guardrail breaks only where
the treatment is worse by more than its tolerance, with certainty. Absolute limits are alarms of monitoring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from serving.experiments.aggregates import Aggregates, ArmAggregates
from serving.experiments.betting import Evidence, bet
from serving.experiments.verdict import Guardrail

# A roll-out's guardrail is looked at every second: one look's chance of a false alarm must be tiny.
ONE_LOOK = 1e-6
ALPHA = 0.01  # of a false stop by one guardrail, over all looks
SLOW_SHARE = 0.01  # so much more of a user's answers may be slow than of the control's: what p99 means
COVERAGE_USERS = 200  # in each arm, before coverage is compared


@dataclass(frozen=True)
class Limits:
    """``primary`` is the metric that decides, ``alpha`` the chance of any false verdict. Guardrails: answers
    beyond ``p99_milliseconds`` are slow; ``extra_fallbacks`` is the share of fallbacks beyond the control's;
    ``coverage_kept`` the share of the control's item coverage to keep. ``squared_error_cap`` bounds a user's
    squared error; ``planned`` is the size at which a roll-out's intervals are narrowest, in users."""

    planned: int = 2000
    alpha: float = 0.05
    p99_milliseconds: float = 50.0
    extra_fallbacks: float = 0.05
    coverage_kept: float = 0.5
    primary: str = "hit_rate"
    squared_error_cap: float = 4.0


def too_many(count: int, trials: int, allowed: float) -> bool:
    """Whether ``count`` of ``trials`` cannot be chance if the true share is ``allowed``."""
    return trials > 0 and float(binom.sf(count - 1, trials, allowed)) < ONE_LOOK


def guardrails(
    tally: Aggregates,
    shares: Mapping[int, Mapping[str, float]],
    *,
    control: str,
    treatment: str,
    limits: Limits,
) -> list[Guardrail]:
    """Slow answers, fallbacks and coverage of ``treatment`` against ``control``.

    ``shares`` are the planned ones by revision (``outcomes.planned_shares``).
    """
    old, new = tally.by_arm.get(control, ArmAggregates()), tally.by_arm.get(treatment, ArmAggregates())
    slow = _against_control(tally, shares, control, treatment, "slow")
    fallbacks = _against_control(tally, shares, control, treatment, "fallbacks")
    alike = min(len(old.coverage), len(new.coverage))
    lost = 1 - new.coverage[alike - 1] / old.coverage[alike - 1] if alike >= COVERAGE_USERS else None
    return [
        Guardrail(
            "share of slow answers",
            _fraction(new.slower_than(limits.p99_milliseconds), new.exposures + new.shadows),
            _fraction(old.slower_than(limits.p99_milliseconds), old.exposures + old.shadows),
            SLOW_SHARE,
            certain=slow.low > SLOW_SHARE,
            excess=slow.estimate,
        ),
        Guardrail(
            "fallback share",
            _fraction(new.sources["popular"], new.exposures),
            _fraction(old.sources["popular"], old.exposures),
            limits.extra_fallbacks,
            certain=fallbacks.low > limits.extra_fallbacks,
            excess=fallbacks.estimate,
        ),
        Guardrail("coverage lost", lost, 0.0, 1 - limits.coverage_kept, excess=lost),
    ]


def _fraction(count: int, total: int) -> float | None:
    return count / total if total else None


def _against_control(
    tally: Aggregates, shares: Mapping[int, Mapping[str, float]], control: str, treatment: str, figure: str
) -> Evidence:
    """Bets on the share of each user's answers that were slow or fallbacks, in the order of their entry."""
    rows = []
    for name, user in tally.users.items():
        planned = shares.get(user.revision, {})
        pair = (planned.get(control, 0.0), planned.get(treatment, 0.0))
        if user.arm in (control, treatment) and min(pair) > 0 and user.exposures:
            share = getattr(user, figure) / user.exposures
            rows.append((user.first_at, name, share, user.arm == treatment, pair[1] / sum(pair)))
    rows.sort(key=lambda row: row[:2])
    columns = [np.array([row[index] for row in rows]) for index in (2, 3, 4)]
    return bet(columns[0], columns[1].astype(np.bool_), columns[2], alpha=ALPHA)
