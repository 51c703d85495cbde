"""The verdict on an experiment: ship, stop, not yet, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from serving.experiments.betting import Evidence, users_needed
from serving.experiments.sample_ratio import SampleRatio


class ExperimentDecision(Enum):
    """``SECONDARY`` is a result that decides nothing."""

    SHIP = "ship"
    STOP = "stop"
    NOT_YET = "not yet"
    NONE = "no verdict"
    SECONDARY = "secondary"


@dataclass(frozen=True)
class Guardrail:
    """A figure that may exceed the control's by at most ``limit``. ``value`` and ``control`` are as measured,
    ``excess`` is their difference, None without data; ``certain`` is False while it may be chance."""

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
    """``more_users``: further users needed at the effect seen so far, None where that is not known."""

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
    """The verdict; the strictest reason comes first.

    Args:
        ratio: the sample ratio test.
        evidence: result of the bets; larger outcomes are better.
        guardrails: given for the primary metric alone.
        primary: whether this metric decides; a secondary one is only reported.
        lost_events: number of events known to be missing.
        control_mean: the control's mean outcome, to size a difference of 20%.
        preference: the evidence is a preference in interleaved lists.
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
        return Verdict(ExperimentDecision.SECONDARY, "Secondary, decides nothing: no users to compare yet.")
    if evidence.users == 0:
        return Verdict(
            ExperimentDecision.NOT_YET, "Not yet: no user's outcome is fixed; wait for the window to close."
        )
    span = f"{evidence.estimate:+.4g} ({evidence.low:+.4g} to {evidence.high:+.4g})"
    if not primary:
        sure = "differs" if evidence.ships or evidence.stops else "no difference"
        return Verdict(ExperimentDecision.SECONDARY, f"Secondary, decides nothing: {sure}, {span}.{warning}")
    worse, better = ("is preferred less,", "is preferred,") if preference else ("is worse by", "is better by")
    if evidence.stops:
        return Verdict(ExperimentDecision.STOP, f"Stop: the treatment {worse} {span}.{warning}")
    if evidence.ships:
        return Verdict(ExperimentDecision.SHIP, f"Ship: the treatment {better} {span}.{warning}")
    return _undecided(evidence, span, control_mean, warning)


def _undecided(evidence: Evidence, span: str, control_mean: float | None, warning: str) -> Verdict:
    """Not yet, with the number of users that would decide; an effect within its error does not tell it."""
    effect, more = abs(evidence.estimate), None
    if effect > 2 * evidence.standard_error:
        needed = users_needed(effect, evidence.variance, evidence.weight)
        more = max(1, needed - evidence.users)
        words = f"at this effect about {more:,} more users decide it in 80% of cases."
    elif control_mean:
        needed = users_needed(0.2 * abs(control_mean), evidence.variance, evidence.weight)
        words = f"the effect is within its error; a difference of 20% would take about {needed:,} users."
    else:
        words = "how many users it takes is unknown before the first conversions."
    return Verdict(ExperimentDecision.NOT_YET, f"Not yet: {span} holds zero; {words}{warning}", more)
