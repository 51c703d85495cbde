"""Shadow, comparison, roll-out, promotion and back over a real event store, with made-up people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recsys.errors import InputError
from serving.domain import ArmSpec
from serving.loop.loop_decisions import Phase
from tests.benchmarks.simulations.behaviour import Behaviour
from tests.benchmarks.simulations.loop_world import HOUR, WELL, LoopWorld
from tests.releases import make_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_release(tmp_path_factory.mktemp("candidate") / "release"))


def test_a_better_candidate_becomes_the_champion(tmp_path: Path, release: str) -> None:
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.5))
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.ROLLOUT, Phase.PROMOTE]
    assert world.serving().arms == (ArmSpec("main", release, 1.0, explore=0.1), ArmSpec("off", "older", 0.0))
    assert world.decisions[-1][1].reason == f"promoted: {release} serves all users"
    explored = {arm.explore for past in world.store.experiment_history("main") for arm in past.arms}
    assert explored == {0.1, 0.0}  # the candidate explored as the champion did, the arm that is off never


def test_a_worse_candidate_goes_back_and_nothing_of_it_stays(tmp_path: Path, release: str) -> None:
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.05))
    before = world.serving().arms
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.BACK]
    assert world.serving().arms == before
    assert "the treatment is worse" in world.decisions[-1][1].reason


def test_an_equal_candidate_stays_out_when_the_time_is_over(tmp_path: Path, release: str) -> None:
    world = LoopWorld(tmp_path, release, candidate=WELL, people=40)
    before = world.serving().arms
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.BACK]
    assert world.serving().arms == before
    assert "no verdict in 1 hours" in world.decisions[-1][1].reason


def test_a_candidate_that_turns_bad_in_the_roll_out_goes_back(tmp_path: Path, release: str) -> None:
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.5))
    before = world.serving().arms
    while world.state.phase is not Phase.ROLLOUT:
        world.step()
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
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.5))
    while world.state.phase is not phase:
        world.step()
        world.traffic()
        world.now += 0.1 * HOUR
    if phase is not Phase.ROLLOUT:
        world.step()
    now = world.serving()
    theirs = (ArmSpec("main", "by hand", 1.0),)
    world.store.save_experiment(
        replace(now, arms=theirs, owner="manual"), expected=now.revision, actor="a person", at=world.now
    )
    assert world.live()[-1] is Phase.BACK
    assert world.serving().arms == theirs
    assert "changed by hand meanwhile" in world.decisions[-1][1].reason


def test_nothing_is_promoted_on_holes_in_the_data(tmp_path: Path, release: str) -> None:
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.5))
    before = world.serving().arms
    while world.state.phase is not Phase.COMPARE:
        world.step()
        world.traffic()
        world.now += 0.1 * HOUR
    world.step()  # the comparison's revision is stored
    world.store.append("gap", "writer", {"lost": 3}, at=world.now)
    assert world.live()[-1] is Phase.BACK
    assert world.serving().arms == before
    assert "3 events are missing" in world.decisions[-1][1].reason


def test_interleaved_a_better_candidate_becomes_the_champion_with_fewer_people(
    tmp_path: Path, release: str
) -> None:
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.5), people=60, kind="interleaved")
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.ROLLOUT, Phase.PROMOTE]
    assert world.serving().arms == (ArmSpec("main", release, 1.0, explore=0.1), ArmSpec("off", "older", 0.0))
    kinds = [past.kind for past in reversed(world.store.experiment_history("main"))]
    assert kinds.count("interleaved") == 1
    assert kinds[-1] == "split"


def test_interleaved_a_worse_candidate_goes_back_to_split_lists_that_explore(
    tmp_path: Path, release: str
) -> None:
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.05), people=60, kind="interleaved")
    before = world.serving()
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.BACK]
    assert (world.serving().arms, world.serving().kind) == (before.arms, "split")


def test_the_experiments_own_metric_decides_and_one_that_nothing_counts_is_refused(
    tmp_path: Path, release: str
) -> None:
    world = LoopWorld(tmp_path, release, candidate=Behaviour(hit=0.5))
    plays = {"events": {"play": {"weight": 1.0, "at_least": None}}, "exposures": "served"}
    now = world.serving()
    world.store.save_experiment(
        replace(now, metrics={"primary": "plays", "plays": plays}), expected=now.revision, actor="test"
    )
    assert world.live() == [Phase.SHADOW, Phase.COMPARE, Phase.BACK]  # people rate, and nobody plays
    assert "no verdict" in world.decisions[-1][1].reason
    wrong = world.settings.comparison.model_copy(update={"metric": "accuracy", "kind": "interleaved"})
    (tmp_path / "other").mkdir()
    other = LoopWorld(tmp_path / "other", release, candidate=WELL, kind="interleaved")
    other.settings = other.settings.model_copy(update={"comparison": wrong})
    with pytest.raises(InputError, match=r"kind interleaved cannot use 'accuracy'; 'main' has: hit_rate"):
        other.live()
