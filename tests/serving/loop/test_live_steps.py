"""Shadow, comparison, roll-out, promotion and back over a real event store, with made-up people.

Every look is made by steps that know nothing of the look before, as after a kill.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentState
from serving.events.store import EventStore
from serving.loop.arm_plan import arms_json
from serving.loop.live_steps import LiveSteps
from serving.loop.loop_decisions import LoopDecision, Phase, decide
from serving.loop.loop_journal import LoopState
from serving.loop.loop_settings import ComparisonSettings, LastStageSettings, LoopSettings
from serving.operations_service import OperationSettings
from serving.rollout.controller import RolloutController
from tests.benchmarks.simulations.behaviour import Behaviour, answers
from tests.releases import make_release

HOUR = 3600.0
WELL = Behaviour(hit=0.2)
SETTINGS = LoopSettings(
    comparison=ComparisonSettings(
        shadow_hours=0.1, shadow_answers=50, alpha_a_year=0.05, comparisons_a_year=1, longest_hours=0.8
    ),
    rollout=LastStageSettings(stages=[0.5, 1.0], hold_hours=0.1, minimum_exposures=20, longest_hours=6.0),
)
MEASURED = OperationSettings(window_seconds=60.0)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_release(tmp_path_factory.mktemp("candidate") / "release"))


class World:
    """A service with people whose behaviour is known; a look every tenth of an hour."""

    def __init__(self, folder: Path, release: str, *, candidate: Behaviour, people: int = 200) -> None:
        self.store = EventStore(str(folder / "events.db"))
        self.store.create_tables()
        arms = (ArmSpec("main", "champion", 1.0, explore=0.1), ArmSpec("off", "older", 0.0))
        state = ExperimentState("main", 0, "salt", arms)
        self.store.save_experiment(state, expected=0, actor="test", at=0.0)
        self.people = people
        self.candidate = candidate
        self.now = 1_000_000.0
        self.random = np.random.default_rng(5)
        self.rollouts = RolloutController(self.store, "main", notify=lambda _: None, clock=lambda: self.now)
        start: JsonObject = {"experiment": "main", "arms": arms_json(state), "baseline": "main", "share": 0.5}
        self.state = LoopState(
            Phase.SHADOW, 1, self.now, "the gate", start=start, search={"release": release}
        )
        self.decisions: list[tuple[Phase, LoopDecision]] = []

    def serving(self) -> ExperimentState:
        state = self.store.experiment("main")
        assert state is not None
        return state

    def look(self) -> LoopDecision:
        steps = LiveSteps(SETTINGS, self.store, MEASURED)
        phases = {
            Phase.SHADOW: steps.shadow,
            Phase.COMPARE: steps.compare,
            Phase.ROLLOUT: steps.rollout,
            Phase.PROMOTE: steps.promote,
            Phase.BACK: steps.back,
        }
        step = phases[self.state.phase]
        first = decide(self.state.phase, step(self.state, self.now), SETTINGS)
        decision = decide(self.state.phase, step(self.state, self.now), SETTINGS)
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
            self.look()
            if self.state.phase is Phase.IDLE:
                return [phase for phase, _ in self.decisions]
            self.traffic()
            self.now += 0.1 * HOUR
            self.rollouts.tick()
        raise AssertionError(self.decisions)


def test_a_better_candidate_becomes_the_champion(tmp_path: Path, release: str) -> None:
    world = World(tmp_path, release, candidate=Behaviour(hit=0.5))
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.ROLLOUT, Phase.PROMOTE]
    assert world.serving().arms == (ArmSpec("main", release, 1.0, explore=0.1), ArmSpec("off", "older", 0.0))
    assert world.decisions[-1][1].reason == f"promoted: {release} answers everybody"
    explored = {arm.explore for past in world.store.experiment_history("main") for arm in past.arms}
    assert explored == {0.1, 0.0}  # the candidate explored as the champion did, the arm that is off never


def test_a_worse_candidate_goes_back_and_nothing_of_it_stays(tmp_path: Path, release: str) -> None:
    world = World(tmp_path, release, candidate=Behaviour(hit=0.05))
    before = world.serving().arms
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.BACK]
    assert world.serving().arms == before
    assert "the treatment is worse" in world.decisions[-1][1].reason


def test_an_equal_candidate_stays_out_when_the_time_is_over(tmp_path: Path, release: str) -> None:
    world = World(tmp_path, release, candidate=WELL, people=40)
    before = world.serving().arms
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.BACK]
    assert world.serving().arms == before
    assert "no verdict in 1 hours" in world.decisions[-1][1].reason


def test_a_candidate_that_turns_bad_in_the_roll_out_goes_back(tmp_path: Path, release: str) -> None:
    world = World(tmp_path, release, candidate=Behaviour(hit=0.5))
    before = world.serving().arms
    while world.state.phase is not Phase.ROLLOUT:
        world.look()
        world.traffic()
        world.now += 0.1 * HOUR
    world.candidate = Behaviour(hit=0.5, slow=0.6)
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.ROLLOUT, Phase.BACK]
    assert world.serving().arms == before
    assert "the roll-out went back" in world.decisions[-1][1].reason


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.COMPARE, Phase.ROLLOUT])
def test_what_a_person_changes_meanwhile_stays_and_ends_the_cycle(
    tmp_path: Path, release: str, phase: Phase
) -> None:
    world = World(tmp_path, release, candidate=Behaviour(hit=0.5))
    while world.state.phase is not phase:
        world.look()
        world.traffic()
        world.now += 0.1 * HOUR
    if phase is not Phase.ROLLOUT:
        world.look()
    now = world.serving()
    theirs = (ArmSpec("main", "by hand", 1.0),)
    world.store.save_experiment(
        replace(now, arms=theirs, owner="manual"), expected=now.revision, actor="a person", at=world.now
    )
    assert world.live()[-1] is Phase.BACK
    assert world.serving().arms == theirs
    assert "changed by hand meanwhile" in world.decisions[-1][1].reason


def test_nothing_is_promoted_on_holes_in_the_data(tmp_path: Path, release: str) -> None:
    world = World(tmp_path, release, candidate=Behaviour(hit=0.5))
    before = world.serving().arms
    while world.state.phase is not Phase.COMPARE:
        world.look()
        world.traffic()
        world.now += 0.1 * HOUR
    world.store.append("gap", "writer", {"lost": 3}, at=world.now)
    assert world.live()[-1] is Phase.BACK
    assert world.serving().arms == before
    assert "3 events are missing" in world.decisions[-1][1].reason
