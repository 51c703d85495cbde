"""Figures that must not get worse, whatever else gets better. Never broken by chance alone: they are looked
at all the time, so a share counts as too high only where a binomial test leaves no doubt at one look.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binom

from serving.comparison.sequential import MINIMUM_USERS
from serving.comparison.tally import ArmTally, Tally
from serving.comparison.verdict import Guardrail

# A guardrail is looked at every second: one look's chance of a false alarm must be tiny.
ONE_LOOK = 1e-6
SLOW_SHARE = 0.01  # what p99 means


@dataclass(frozen=True)
class Limits:
    """``planned`` users decide where intervals are narrowest. Guardrails: p99 in milliseconds, the
    share of fallbacks beyond the control's, and the share of the control's item coverage to keep."""

    planned: int = 2000
    alpha: float = 0.05
    p99_milliseconds: float = 50.0
    extra_fallbacks: float = 0.05
    coverage_kept: float = 0.5


def too_many(count: int, trials: int, allowed: float) -> bool:
    """Whether ``count`` of ``trials`` cannot be chance if the true share is ``allowed``."""
    return trials > 0 and float(binom.sf(count - 1, trials, allowed)) < ONE_LOOK


def guardrails(tally: Tally, *, control: str, treatment: str, limits: Limits) -> list[Guardrail]:
    """p99, fallbacks and coverage, each as "must not exceed"."""
    old, new = tally.by_arm.get(control, ArmTally()), tally.by_arm.get(treatment, ArmTally())
    enough = min(old.exposures, new.exposures) >= MINIMUM_USERS
    fallbacks = new.sources["popular"]
    allowed = (old.sources["popular"] / old.exposures if old.exposures else 0.0) + limits.extra_fallbacks
    answers = new.exposures + new.shadows
    slow = new.slower_than(limits.p99_milliseconds)
    # Coverage grows with exposures: compared as a share lost, only at like numbers of answers.
    alike = enough and new.exposures >= 0.8 * old.exposures
    lost = 1 - len(new.items) / len(old.items) if alike and old.items else None
    return [
        Guardrail(
            "p99",
            new.percentile(0.99) if enough else None,
            old.percentile(0.99),
            limits.p99_milliseconds,
            " ms",
            certain=too_many(slow, answers, SLOW_SHARE),
        ),
        Guardrail(
            "fallback share",
            fallbacks / new.exposures if enough else None,
            allowed - limits.extra_fallbacks,
            allowed,
            certain=too_many(fallbacks, new.exposures, min(1.0, allowed)),
        ),
        Guardrail("coverage lost", lost, 0.0, 1 - limits.coverage_kept),
    ]
