"""The policy of a roll-out: pure rules that raise the share, hold it, or roll back.

A stage ends after ``hold_seconds`` with ``minimum_exposures`` answers. A guardrail broken against the
baseline rolls back at once, at any stage; an exceeded absolute limit holds the stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

STAGES = (0.0, 0.01, 0.05, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class RolloutPlan:
    """``stages`` are the candidate's shares in turn; 0 is shadow. Beyond the baseline's, ``slow_share`` of
    the answers may take longer than ``slow_milliseconds`` and ``fallback_share`` may be fallbacks; the mean
    squared error (stars squared) may rise by ``error_margin``."""

    experiment: str
    baseline: str
    candidate: str
    release: str
    stages: tuple[float, ...] = STAGES
    hold_seconds: float = 3600.0
    minimum_exposures: int = 200
    slow_milliseconds: float = 50.0
    slow_share: float = 0.01
    fallback_share: float = 0.05
    error_margin: float = 0.0

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.stages, self.stages[1:], strict=False))
        if not rising or not self.stages or self.stages[0] < 0 or self.stages[-1] != 1.0:
            raise ValueError(f"stages must rise to 1.0, got {list(self.stages)}")


@dataclass(frozen=True)
class GuardrailReading:
    """The candidate since its stage began, over ``exposures`` answers. ``broken`` names a guardrail broken
    against the baseline, ``over_limit`` an exceeded absolute limit (perhaps of both arms, on a busy
    machine)."""

    exposures: int
    broken: str | None = None
    over_limit: str | None = None
    lost_events: int = 0


class RolloutStep(Enum):
    """What happens to the candidate's share."""

    HOLD = "hold"
    RAISE = "raise"
    BACK = "roll back"
    DONE = "done"


@dataclass(frozen=True)
class RolloutDecision:
    """A step, with the candidate's share after it."""

    step: RolloutStep
    share: float
    reason: str


def decide_stage(
    plan: RolloutPlan, share: float, *, seconds: float, reading: GuardrailReading
) -> RolloutDecision:
    """The decision after ``seconds`` at ``share``; a share between two stages counts as the lower one."""

    def hold(reason: str) -> RolloutDecision:
        return RolloutDecision(RolloutStep.HOLD, share, reason)

    if reading.broken is not None:
        return RolloutDecision(RolloutStep.BACK, 0.0, reading.broken)
    if share >= plan.stages[-1] and seconds >= plan.hold_seconds:
        return RolloutDecision(RolloutStep.DONE, share, f"held {seconds:.0f} s at {share:.0%}")
    if reading.lost_events:
        return hold(f"{reading.lost_events} events are missing: no step on incomplete data")
    if seconds < plan.hold_seconds:
        return hold(f"{plan.hold_seconds - seconds:.0f} s left at {share:.0%}")
    if reading.exposures < plan.minimum_exposures:
        return hold(f"{reading.exposures} of {plan.minimum_exposures} answers at {share:.0%}")
    if reading.over_limit is not None:
        return hold(f"{reading.over_limit}: no step while that lasts")
    following = next(stage for stage in plan.stages if stage > share)
    reason = f"{reading.exposures} answers in {seconds:.0f} s, guardrails held"
    return RolloutDecision(RolloutStep.RAISE, following, reason)
