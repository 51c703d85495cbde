"""Figures that must not get worse, whatever else gets better: slow answers, fallbacks, coverage.

Each is measured against the control at the same time, and breaks only with certainty, twice over. By people:
the bets of the verdict on each user's first list, so a heavy user is one user, and what follows an entry
cannot rewrite it. By time: in how many separate stretches the treatment was the worse one, so one burst is
one stretch, however many answers it slowed. Absolute limits say nothing about a treatment (a busy machine
slows both arms): they are alarms of their own (``alarms``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import ConfigDict, Field
from scipy.special import betainc, betaln
from scipy.stats import binom

from serving.domain import CHECKED, Share
from serving.experiments.aggregates import Aggregates, ArmAggregates
from serving.experiments.betting import Evidence, bet
from serving.experiments.experiment_metrics import HIT_RATE
from serving.experiments.verdict import Guardrail

# A roll-out's guardrail is looked at every second: one look's chance of a false alarm must be tiny.
ONE_LOOK = 1e-6
ALPHA = 0.01  # of a false stop by any guardrail of any treatment, over all looks
TIME_ALPHA = 0.05  # of the stretches of time, which only confirm
SLOW_SHARE = 0.01  # so much more of the answers may be slow than of the control's: what p99 means
RAILS = 3
SQUARED_ERROR_CAP = 4.0  # of ratings from 1 to 5: half of the scale, squared
SLOW, FALLBACK = 1, 2  # places in ``ArmAggregates.blocks``


@dataclass(frozen=True)
class Limits:
    """Bounds of verdicts and guardrails.

    ``primary`` is the metric that decides, ``alpha`` the chance of any false verdict. Guardrails: answers
    beyond ``p99_milliseconds`` are slow; ``extra_fallbacks`` is the share of fallbacks beyond the control's;
    ``coverage_kept`` the share of the control's item coverage to keep. ``squared_error_cap`` bounds a user's
    squared error (by default half of the scale, squared)."""

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    p99_milliseconds: Annotated[float, Field(gt=0)] = 50.0
    extra_fallbacks: Share = 0.05
    coverage_kept: Share = 0.5
    primary: str = HIT_RATE
    squared_error_cap: Annotated[float, Field(gt=0)] | None = None

    def on_scale(self, low: float, high: float) -> Limits:
        """With a squared error of half a release's scale as the largest that counts, where none is given."""
        cap = ((high - low) / 2) ** 2 if high > low else SQUARED_ERROR_CAP
        return replace(self, squared_error_cap=self.squared_error_cap or cap)


def too_many(count: int, trials: int, allowed: float) -> bool:
    """Whether ``count`` of ``trials`` cannot be chance if the true share is ``allowed``."""
    return trials > 0 and float(binom.sf(count - 1, trials, min(1.0, allowed))) < ONE_LOOK


def sign_evidence(worse: int, informative: int) -> float:
    """Logarithm of an e-value against "worse at most every second time", valid at every look.

    The uniform mixture of bets on a chance in (1/2, 1):  2^n * 2 * int_{1/2}^1 q^w (1 - q)^(n - w) dq."""
    a, b = worse + 1.0, informative - worse + 1.0
    above = max(1.0 - float(betainc(a, b, 0.5)), 1e-300)
    return (informative + 1) * math.log(2) + float(betaln(a, b)) + math.log(above)


def worse_in_time(old: ArmAggregates, new: ArmAggregates, figure: int, *, tolerance: float = 0.0) -> bool:
    """Whether ``new`` has the larger share of ``figure`` in too many separate stretches of time."""
    worse = informative = 0
    for block in old.blocks.keys() & new.blocks.keys():
        (before, *_), (now, *_) = old.blocks[block], new.blocks[block]
        gap = new.blocks[block][figure] / now - old.blocks[block][figure] / before
        informative += abs(gap) > tolerance
        worse += gap > tolerance
    return sign_evidence(worse, informative) >= math.log(1 / TIME_ALPHA)


def chances_of(treatment: str, control: str, shares: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Of each revision that gave both arms users: the treatment's share of the two."""
    pairs = {
        revision: (arms.get(control, 0.0), arms.get(treatment, 0.0)) for revision, arms in shares.items()
    }
    return {revision: pair[1] / sum(pair) for revision, pair in pairs.items() if min(pair) > 0}


def guardrails(
    tally: Aggregates,
    shares: Mapping[int, Mapping[str, float]],
    *,
    control: str,
    treatment: str,
    limits: Limits,
    treatments: int = 1,
    slow_share: float = SLOW_SHARE,
) -> list[Guardrail]:
    """Slow answers, fallbacks and coverage of ``treatment`` against ``control``.

    ``shares`` are the planned ones by revision (``outcomes.planned_shares``); ``ALPHA`` is divided over the
    guardrails and ``treatments``.
    """
    old, new = tally.by_arm.get(control, ArmAggregates()), tally.by_arm.get(treatment, ArmAggregates())
    alpha = ALPHA / (RAILS * treatments)
    slow, fallbacks = _against_control(tally, shares, control, treatment, alpha)
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


def alarms(tally: Aggregates, arms: Sequence[str], limits: Limits) -> list[str]:
    """Absolute limits that an arm is over, in words; they stop nothing by themselves."""
    texts = []
    for name in arms:
        p99 = tally.by_arm.get(name, ArmAggregates()).percentile(0.99)
        if p99 is not None and p99 > limits.p99_milliseconds:
            texts.append(f"{name}: p99 is {p99:.1f} ms, over {limits.p99_milliseconds:g} ms")
    return texts


def _share(arm: ArmAggregates, figure: int) -> float | None:
    answers = sum(counts[0] for counts in arm.blocks.values())
    return sum(counts[figure] for counts in arm.blocks.values()) / answers if answers else None


def _against_control(
    tally: Aggregates,
    shares: Mapping[int, Mapping[str, float]],
    control: str,
    treatment: str,
    alpha: float,
) -> tuple[Evidence, Evidence]:
    """Bets on whether each user's first list was slow, and a fallback, in the order of their entry.

    Where no list was, there is nothing to bet on."""
    chances = chances_of(treatment, control, shares)
    rows = []
    for name, user in tally.users.items():
        chance = chances.get(user.revision)
        if user.arm in (control, treatment) and chance:
            bad = (user.first_slow, user.first_fallback)
            rows.append((user.first_at, name, *bad, user.arm == treatment, chance))
    rows.sort(key=lambda row: row[:2])
    columns = np.array([row[2:] for row in rows], dtype=np.float64).reshape(-1, 4).T
    treated = columns[2].astype(np.bool_)
    counts = [len(rows) if bad.any() else 0 for bad in columns[:2]]
    slow, fallbacks = (
        bet(bad[:count], treated[:count], columns[3, :count], alpha=alpha)
        for bad, count in zip(columns[:2], counts, strict=True)
    )
    return slow, fallbacks
