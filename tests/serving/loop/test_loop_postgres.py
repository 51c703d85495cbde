"""The loop over a real PostgreSQL that is stopped in each of its phases in service and comes back."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from recsys.types import JsonObject
from serving.domain import ArmSpec
from serving.loop.loop_controller import LoopController
from serving.loop.loop_decisions import Phase
from serving.loop.loop_journal import LoopRecord, LoopState, replay
from serving.loop.loop_steps import mirror_records
from tests.benchmarks.simulations.behaviour import Behaviour
from tests.benchmarks.simulations.loop_world import HOUR, LoopWorld
from tests.releases import make_release
from tests.serving.loop.evidence import ENOUGH
from tests.serving.postgres import postgres

pytestmark = pytest.mark.system


class LiveEvidence:
    """The phases in service of a world; the journal is copied to its store, as for the page."""

    def __init__(self, world: LoopWorld, folder: Path) -> None:
        self.world, self.folder = world, folder

    def evidence(
        self, state: LoopState, records: list[LoopRecord], *, now: float, paused: str | None
    ) -> JsonObject:
        return self.world.evidence(state)

    def mirror(self, records: list[LoopRecord]) -> None:
        mirror_records(self.world.store, records, experiment="main", folder=self.folder)


def test_a_store_that_is_away_is_told_once_and_nothing_is_half_promoted(tmp_path: Path) -> None:
    release = str(make_release(tmp_path / "release"))
    with postgres() as server:
        world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.5), events=server.url)
        settings = world.settings.model_copy(update={"folder": str(tmp_path / "loop")})
        said: list[str] = []
        steps = LiveEvidence(world, tmp_path / "loop")
        loop = LoopController(settings, steps, notify=said.append, clock=lambda: world.now)
        begun = {Phase.IDLE: world.state.start, Phase.SEARCH: {"release": release}}
        path = [Phase.IDLE, Phase.DATASET, Phase.SEARCH, Phase.GATE, Phase.SHADOW]
        for phase, following in pairwise(path):
            evidence = ENOUGH[phase] | begun.get(phase, {})
            loop.journal.append(
                "decision", at=world.now, cycle=1, phase=phase, evidence=evidence, next=following, reason=""
            )
        stopped: list[Phase] = []
        while (phase := loop.journal.state.phase) is not Phase.IDLE:
            if phase not in stopped:
                stopped.append(phase)
                before = world.serving()
                said.clear()
                server.stop()
                assert not any(loop.step() for _ in range(3))
                assert len(said) == 1
                assert said[0].startswith(f"cycle 1, {phase} waits: OperationalError")
                server.start()
                assert (loop.journal.state.phase, world.serving()) == (phase, before)
            moved = loop.step()
            if not moved:
                world.traffic()
                world.now += 0.1 * HOUR
                world.rollouts.tick()
        assert stopped == [Phase.SHADOW, Phase.COMPARE, Phase.ROLLOUT, Phase.PROMOTE]
        arms = (ArmSpec("main", release, 1.0, explore=0.1), ArmSpec("off", "older", 0.0))
        assert world.serving().arms == arms
        assert all(again.next == row.next for row, again in replay(loop.journal.records))
        moves = [row.next for row in loop.journal.records if row.moves]
        shown = [row.data["next"] for row in world.store.journal(kind="loop") if row.data["moves"]]
        assert shown == moves[-len(shown) :]
        assert shown[-1] == Phase.IDLE
        world.store.close()
