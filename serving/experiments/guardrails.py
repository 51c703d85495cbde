"""Guardrail metrics: slow answers, fallbacks and coverage must not get worse.

Each is compared with the control at the same time, and breaks only when two tests agree. By users: the bets
of the verdict on each user's first list, so that a heavy user counts once and later events change nothing. By
time: in how many blocks of time the treatment was worse, so that one burst is one block, however many answers
it slowed. Absolute limits say nothing about a treatment, since a busy machine slows both arms: they only
raise ``alarms``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import ConfigDict, Field
from scipy.special import betainc, betaln
from scipy.stats import binom

from serving.domain import CHECKED, Share
from serving.experiments.aggregates import Aggregates, ArmAggregates
from serving.experiments.betting import Evidence, bet
from serving.experiments.entrants import Entrants, SharesByRevision, entrants
from serving.experiments.experiment_metrics import HIT_RATE
from serving.experiments.verdict import Guardrail

# Of one look: a roll-out's guardrails are evaluated every second.
LOOK_ALPHA = 1e-6
ALPHA = 0.01  # of a false stop by any guardrail of any treatment, over all looks
TIME_ALPHA = 0.05  # of the test over blocks of time, which only confirms
SLOW_SHARE = 0.01  # of the answers, beyond the control's share, may be slow
RAILS = 3
SQUARED_ERROR_CAP = 4.0  # of ratings from 1 to 5: half of the scale, squared
SLOW, FALLBACK = 1, 2  # columns of ``ArmAggregates.blocks``


@dataclass(frozen=True)
class Limits:
    """Bounds of verdicts and guardrails.

    Attributes:
        alpha: probability of any false verdict.
        p99_milliseconds: answers beyond it are slow.
        extra_fallbacks: share of fallbacks allowed beyond the control's.
        coverage_kept: share of the control's item coverage that must be kept.
        primary: the metric that decides.
        squared_error_cap: bound of a user's squared error; by default half of the scale, squared.
    """

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    p99_milliseconds: Annotated[float, Field(gt=0)] = 50.0
    extra_fallbacks: Share = 0.05
    coverage_kept: Share = 0.5
    primary: str = HIT_RATE
    squared_error_cap: Annotated[float, Field(gt=0)] | None = None

    def on_scale(self, low: float, high: float) -> Limits:
        """With the default ``squared_error_cap`` for ratings from ``low`` to ``high``."""
        cap = ((high - low) / 2) ** 2 if high > low else SQUARED_ERROR_CAP
        return replace(self, squared_error_cap=self.squared_error_cap or cap)


def too_many(count: int, trials: int, allowed: float) -> bool:
    """Whether ``count`` of ``trials`` is significantly above a share of ``allowed``."""
    return trials > 0 and float(binom.sf(count - 1, trials, min(1.0, allowed))) < LOOK_ALPHA


def sign_evidence(worse: int, informative: int) -> float:
    """Logarithm of an anytime-valid e-value against a probability of "worse" of at most 1/2.

    The uniform mixture of bets on a probability in (1/2, 1):  2^n * 2 * int_{1/2}^1 q^w (1 - q)^(n - w)
    dq."""
    a, b = worse + 1.0, informative - worse + 1.0
    above = max(1.0 - float(betainc(a, b, 0.5)), 1e-300)
    return (informative + 1) * math.log(2) + float(betaln(a, b)) + math.log(above)


def worse_in_time(old: ArmAggregates, new: ArmAggregates, figure: int, *, tolerance: float = 0.0) -> bool:
    """Whether ``new`` has the larger share of ``figure`` in significantly many blocks of time."""
    worse = informative = 0
    for block in old.blocks.keys() & new.blocks.keys():
        (before, *_), (now, *_) = old.blocks[block], new.blocks[block]
        gap = new.blocks[block][figure] / now - old.blocks[block][figure] / before
        informative += abs(gap) > tolerance
        worse += gap > tolerance
    return sign_evidence(worse, informative) >= math.log(1 / TIME_ALPHA)


def guardrails(
    aggregates: Aggregates,
    shares: SharesByRevision,
    *,
    control: str,
    treatment: str,
    limits: Limits,
    treatments: int = 1,
    slow_share: float = SLOW_SHARE,
) -> list[Guardrail]:
    """Slow answers, fallbacks and coverage of ``treatment`` against ``control``.

    ``ALPHA`` is divided over the guardrails and ``treatments``.
    """
    old, new = (
        aggregates.by_arm.get(control, ArmAggregates()),
        aggregates.by_arm.get(treatment, ArmAggregates()),
    )
    alpha = ALPHA / (RAILS * treatments)
    entered = entrants(aggregates, shares, control=control, treatment=treatment)
    slow = _bet_on(entered, [user.first_slow for user in entered.users], alpha)
    fallbacks = _bet_on(entered, [user.first_fallback for user in entered.users], alpha)
    pairs = list(zip(old.coverage, new.coverage, strict=False))
    fewer = sum(after < limits.coverage_kept * before for before, after in pairs)
    coverage = sum(after for _, after in pairs) / max(1, sum(before for before, _ in pairs))
    lost = 1 - coverage if pairs else None
    return [
        Guardrail(
            "share of slow answers",
            _share(new, SLOW),
            _share(old, SLOW),
            slow_share,
            certain=slow.low > slow_share and worse_in_time(old, new, SLOW, tolerance=slow_share),
            excess=slow.estimate,
        ),
        Guardrail(
            "fallback share",
            _share(new, FALLBACK),
            _share(old, FALLBACK),
            limits.extra_fallbacks,
            certain=fallbacks.low > limits.extra_fallbacks
            and worse_in_time(old, new, FALLBACK, tolerance=limits.extra_fallbacks),
            excess=fallbacks.estimate,
        ),
        Guardrail(
            "coverage lost",
            lost,
            0.0,
            1 - limits.coverage_kept,
            certain=sign_evidence(fewer, len(pairs)) >= math.log(1 / alpha),
            excess=lost,
        ),
    ]


def alarms(aggregates: Aggregates, arms: Sequence[str], limits: Limits) -> list[str]:
    """Absolute limits that an arm exceeds, as text; they stop nothing by themselves."""
    texts = []
    for name in arms:
        p99 = aggregates.by_arm.get(name, ArmAggregates()).percentile(0.99)
        if p99 is not None and p99 > limits.p99_milliseconds:
            texts.append(f"{name}: p99 is {p99:.1f} ms, over {limits.p99_milliseconds:g} ms")
    return texts


def _share(arm: ArmAggregates, figure: int) -> float | None:
    answers = sum(counts[0] for counts in arm.blocks.values())
    return sum(counts[figure] for counts in arm.blocks.values()) / answers if answers else None


def _bet_on(entered: Entrants, bad: Sequence[bool], alpha: float) -> Evidence:
    """Is the first list of more treated users ``bad`` (n,)? Without any bad list there is nothing to bet
    on."""
    n = len(bad) if any(bad) else 0
    outcome = np.array(bad[:n], dtype=np.float64)
    return bet(outcome, entered.treated[:n], entered.shares[:n], alpha=alpha)
