"""What to do about an experiment, in words: ship, stop, not yet, or no verdict at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from serving.comparison.difference import Difference
from serving.comparison.sample_ratio import SampleRatio
from serving.comparison.sequential import MINIMUM_USERS, Interval, users_needed


class Decision(Enum):
    SHIP = "ship"
    STOP = "stop"
    NOT_YET = "not yet"
    NONE = "no verdict"


@dataclass(frozen=True)
class Guardrail:
    """A figure that must not get worse than ``limit``: ``value`` is the treatment's, None before any.
    ``certain`` is False while it may be over the limit by chance."""

    name: str
    value: float | None
    control: float | None
    limit: float
    unit: str = ""
    certain: bool = True

    @property
    def broken(self) -> bool:
        return self.certain and self.value is not None and self.value > self.limit

    def words(self) -> str:
        return f"{self.name} is {self.value:.4g}{self.unit}, the limit is {self.limit:.4g}{self.unit}"


@dataclass(frozen=True)
class Verdict:
    """``more_users`` is how many further users it would take at the effect seen so far, None if moot."""

    decision: Decision
    words: str
    more_users: int | None = None


def decide(
    ratio: SampleRatio,
    difference: Difference | None,
    interval: Interval | None,
    guardrails: Sequence[Guardrail],
    *,
    planned: int,
    holes: int = 0,
    fewest: int | None = None,
) -> Verdict:
    """The verdict, strictest reason first.

    ``holes`` counts events known to be missing. ``difference`` and ``interval`` are None while an arm
    has fewer than ``MINIMUM_USERS`` users whose outcome is fixed: the smallest has ``fewest`` (by default
    those of ``ratio``, who entered). Larger outcomes are better.
    """
    if holes:
        return Verdict(Decision.NONE, f"{holes} events are missing: no verdict on data with holes.")
    if ratio.mismatch:
        counts = " / ".join(map(str, ratio.counts))
        return Verdict(
            Decision.NONE,
            f"Sample ratio mismatch: {counts} users do not fit the planned shares (p = {ratio.p_value:.2g}). "
            "Find the cause before reading anything else.",
        )
    broken = [guardrail.words() for guardrail in guardrails if guardrail.broken]
    if broken:
        return Verdict(Decision.STOP, "Stop: " + "; ".join(broken) + ".")
    if difference is None or interval is None:
        fixed = min(ratio.counts, default=0) if fewest is None else fewest
        entered = max(fixed, min(ratio.counts, default=0))
        missing = max(0, MINIMUM_USERS - entered) * max(2, len(ratio.counts))
        wait = f"about {missing:,} more users" if missing else f"the outcomes of the {entered} who entered"
        return Verdict(
            Decision.NOT_YET,
            f"Not yet: the smallest arm has {fixed} users whose outcome is fixed, {MINIMUM_USERS} are needed "
            f"before any interval; wait for {wait}.",
            missing,
        )
    span = f"{interval.estimate:+.4g} ({interval.low:+.4g} to {interval.high:+.4g})"
    if interval.low > 0:
        return Verdict(Decision.SHIP, f"Ship: the treatment is better by {span}.")
    if interval.high < 0:
        return Verdict(Decision.STOP, f"Stop: the treatment is worse by {span}.")
    needed = users_needed(
        difference.estimate,
        difference.standard_error,
        difference.users,
        planned=planned,
        alpha=interval.alpha,
    )
    more = needed - difference.users
    return Verdict(
        Decision.NOT_YET,
        f"Not yet: {span} holds zero; at this effect about {more:,} more users would decide it.",
        more,
    )
