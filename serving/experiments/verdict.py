"""What to do about an experiment, in words: ship, stop, not yet, or no verdict at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from serving.experiments.betting import Evidence, users_needed
from serving.experiments.sample_ratio import SampleRatio


class ExperimentDecision(Enum):
    SHIP = "ship"
    STOP = "stop"
    NOT_YET = "not yet"
    NONE = "no verdict"
    SECONDARY = "secondary"


@dataclass(frozen=True)
class Guardrail:
    """A figure that may exceed the control's by ``limit`` at most. ``value`` and ``control`` are as measured,
    ``excess`` the treatment's beyond the control's, None before any; ``certain`` is False while it may be
    over the limit by chance."""

    name: str
    value: float | None
    control: float | None
    limit: float
    certain: bool = True
    excess: float | None = None

    @property
    def broken(self) -> bool:
        return self.certain and self.excess is not None and self.excess > self.limit

    def words(self) -> str:
        return (
            f"{self.name} is {self.value or 0:.4g}, the control's {self.control or 0:.4g}; "
            f"it may be {self.limit:.4g} more"
        )


@dataclass(frozen=True)
class Verdict:
    """``more_users`` is how many further users it would take at the effect seen so far, None if moot."""

    decision: ExperimentDecision
    words: str
    more_users: int | None = None


def decide_experiment(
    ratio: SampleRatio,
    evidence: Evidence,
    guardrails: Sequence[Guardrail] = (),
    *,
    primary: bool = True,
    lost_events: int = 0,
    control_mean: float | None = None,
    preference: bool = False,
) -> Verdict:
    """The verdict, strictest reason first.

    Args:
        ratio: did each arm get its share of the users who entered?
        evidence: what the bets came to; larger outcomes are better.
        guardrails: of the primary metric alone.
        primary: whether this metric decides. A secondary one is reported, without a decision.
        lost_events: events known to be missing.
        control_mean: the control's mean outcome, for what a difference of 20% would take.
        preference: the evidence is on which arm's items people convert on more, in interleaved lists.
    """
    if lost_events:
        return Verdict(
            ExperimentDecision.NONE, f"{lost_events} events are missing: no verdict on incomplete data."
        )
    counts = " / ".join(map(str, ratio.counts))
    if ratio.mismatch:
        return Verdict(
            ExperimentDecision.NONE,
            f"Sample ratio mismatch: {counts} users do not fit the planned shares (p = {ratio.p_value:.2g}). "
            "Find the cause before reading anything else.",
        )
    warning = (
        f" Warning: {counts} users hardly fit the planned shares (p = {ratio.p_value:.2g})."
        if ratio.suspect
        else ""
    )
    broken = [guardrail.words() for guardrail in guardrails if guardrail.broken]
    if broken:
        return Verdict(ExperimentDecision.STOP, "Stop: " + "; ".join(broken) + "." + warning)
    if evidence.users == 0 and not primary:
        return Verdict(ExperimentDecision.SECONDARY, "Secondary, decides nothing: nobody to compare yet.")
    if evidence.users == 0:
        return Verdict(
            ExperimentDecision.NOT_YET, "Not yet: no user's outcome is fixed; wait for the window to close."
        )
    span = f"{evidence.estimate:+.4g} ({evidence.low:+.4g} to {evidence.high:+.4g})"
    if not primary:
        sure = "differs" if evidence.ships or evidence.stops else "cannot be told apart"
        return Verdict(ExperimentDecision.SECONDARY, f"Secondary, decides nothing: {sure}, {span}.{warning}")
    worse, better = ("is preferred less,", "is preferred,") if preference else ("is worse by", "is better by")
    if evidence.stops:
        return Verdict(ExperimentDecision.STOP, f"Stop: the treatment {worse} {span}.{warning}")
    if evidence.ships:
        return Verdict(ExperimentDecision.SHIP, f"Ship: the treatment {better} {span}.{warning}")
    return _undecided(evidence, span, control_mean, warning)


def _undecided(evidence: Evidence, span: str, control_mean: float | None, warning: str) -> Verdict:
    """What it would take, where that can be known: an effect within its own error says nothing about it."""
    effect, more = abs(evidence.estimate), None
    if effect > 2 * evidence.standard_error:
        needed = users_needed(effect, evidence.variance, evidence.weight)
        more = max(1, needed - evidence.users)
        words = f"at this effect about {more:,} more users decide it in 80% of cases."
    elif control_mean:
        needed = users_needed(0.2 * abs(control_mean), evidence.variance, evidence.weight)
        words = f"the effect is within its error; a difference of 20% would take about {needed:,} users."
    else:
        words = "how many users it takes cannot be said before there are conversions."
    return Verdict(ExperimentDecision.NOT_YET, f"Not yet: {span} holds zero; {words}{warning}", more)
