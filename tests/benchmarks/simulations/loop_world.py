"""A release that the loop lets into service, with made-up people and an accelerated clock.

The event store, the loop's steps and rules and the roll-out are the real ones. Every look is made by steps
that know nothing of the look before, as after a kill, and twice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentKind, ExperimentState
from serving.events.store import EventStore
from serving.loop.arm_plan import arms_json
from serving.loop.live_steps import LiveSteps
from serving.loop.loop_decisions import LoopDecision, Phase, decide
from serving.loop.loop_journal import LoopState
from serving.loop.loop_settings import ComparisonSettings, LastStageSettings, LoopSettings
from serving.operation_settings import OperationSettings
from serving.rollout.controller import RolloutController
from tests.benchmarks.simulations.behaviour import Behaviour, answers

HOUR = 3600.0
WELL = Behaviour(hit=0.2)
SETTINGS = LoopSettings(
    comparison=ComparisonSettings(
        shadow_hours=0.1, shadow_answers=50, alpha_a_year=0.05, comparisons_a_year=1, longest_hours=0.8
    ),
    rollout=LastStageSettings(stages=[0.5, 1.0], hold_hours=0.1, minimum_exposures=20, longest_hours=6.0),
)
MEASURED = OperationSettings(window_seconds=60.0)


class LoopWorld:
    """A service with people whose behaviour is known; a look every tenth of an hour."""

    def __init__(
        self,
        folder: Path,
        release: str,
        *,
        candidate: Behaviour,
        people: int = 200,
        seed: int = 5,
        longest_hours: float = 0.8,
        kind: ExperimentKind = "split",
        events: str | None = None,
    ) -> None:
        """``people`` ask a look; a comparison without a verdict ends after ``longest_hours``."""
        compared = SETTINGS.comparison.model_copy(update={"longest_hours": longest_hours})
        self.settings = SETTINGS.model_copy(update={"comparison": compared})
        self.store = EventStore(events or str(folder / "events.db"))
        self.store.create_tables()
        arms = (ArmSpec("main", "champion", 1.0, explore=0.1), ArmSpec("off", "older", 0.0))
        state = ExperimentState("main", 0, "salt", arms)
        self.store.save_experiment(state, expected=0, actor="test", at=0.0)
        self.people = people
        self.candidate = candidate
        self.now = 1_000_000.0
        self.random = np.random.default_rng(seed)
        self.rollouts = RolloutController(self.store, "main", notify=lambda _: None, clock=lambda: self.now)
        start: JsonObject = {
            "experiment": "main",
            "arms": arms_json(state),
            "baseline": "main",
            "share": 0.5,
            "kind": kind,
        }
        self.state = LoopState(
            Phase.SHADOW, 1, self.now, "the gate", start=start, search={"release": release}
        )
        self.decisions: list[tuple[Phase, LoopDecision]] = []

    def serving(self) -> ExperimentState:
        state = self.store.experiment("main")
        assert state is not None
        return state

    def evidence(self, state: LoopState) -> JsonObject:
        """By steps that know nothing of the look before."""
        steps = LiveSteps(self.settings, self.store, MEASURED)
        phases = {
            Phase.SHADOW: steps.shadow,
            Phase.COMPARE: steps.compare,
            Phase.ROLLOUT: steps.rollout,
            Phase.PROMOTE: steps.promote,
            Phase.BACK: steps.back,
        }
        return phases[state.phase](state, self.now)

    def step(self) -> LoopDecision:
        first = decide(self.state.phase, self.evidence(self.state), self.settings)
        decision = decide(self.state.phase, self.evidence(self.state), self.settings)
        assert decision.next is first.next  # killed before it was written down, it is made again
        if decision.next is not self.state.phase:
            self.decisions.append((self.state.phase, decision))
            self.state = replace(self.state, phase=decision.next, entered=self.now, reason=decision.reason)
        return decision

    def traffic(self) -> None:
        """Lists and what follows, for everybody's arm of the moment."""
        state = self.serving()
        behaviours = {arm.name: WELL for arm in state.arms} | {"loop-1": self.candidate}
        users = [f"u{number}" for number in self.random.integers(0, 40 * self.people, self.people)]
        shown, done = answers(
            self.random, state, users, behaviours, at=self.now + 1, serial=f"{self.now:.0f}"
        )
        self.store.add(exposures=shown, feedback=done)

    def live(self) -> list[Phase]:
        """Until the cycle has ended; the phases that it went through."""
        for _ in range(200):
            self.step()
            if self.state.phase is Phase.IDLE:
                return [phase for phase, _ in self.decisions]
            self.traffic()
            self.now += 0.1 * HOUR
            self.rollouts.tick()
        raise AssertionError(self.decisions)
