"""Lanes by hand: who holds a GPU, who runs beside it, with how many cores; and when a card is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys.machine import usable_cores
from recsys.models.registry import FAMILIES
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.training.trial_types import TrialSpec
from search.config.tracks import search_family
from search.sampling.lanes import CardUse, Lane, Lanes, NodeResources, make_lanes, trials_a_card
from search.sampling.trial_factory import Proposal
from search.sampling.trial_queue import TrialQueue


@pytest.mark.parametrize(
    ("nodes", "gpu", "cpu"),
    [
        ([NodeResources(16, 1)], Lane("gpu", 1, 2.0, 1.0), Lane("cpu", 3, 4.0)),
        ([NodeResources(6, 1)], Lane("gpu", 1, 2.0, 1.0), Lane("cpu", 1, 4.0)),
        ([NodeResources(2, 1)], Lane("gpu", 1, 1.0, 1.0), Lane("cpu", 1, 1.0)),
        ([NodeResources(1, 1)], Lane("gpu", 1, 0.5, 1.0), Lane("cpu", 1, 0.5)),
        ([NodeResources(32, 4)], Lane("gpu", 4, 2.0, 1.0), Lane("cpu", 6, 4.0)),
        ([NodeResources(8, 1), NodeResources(8, 1)], Lane("gpu", 2, 2.0, 1.0), Lane("cpu", 2, 4.0)),
        ([NodeResources(8, 1), NodeResources(4, 0)], Lane("gpu", 1, 2.0, 1.0), Lane("cpu", 2, 4.0)),
    ],
)
def test_families_without_a_gpu_run_beside_those_that_hold_one(
    nodes: list[NodeResources], gpu: Lane, cpu: Lane
) -> None:
    lanes = make_lanes(nodes, concurrency=None, gpus_per_trial=1.0)
    assert (lanes.gpu, lanes.cpu) == (gpu, cpu)
    asked = gpu.at_once * gpu.cpus + cpu.at_once * cpu.cpus
    assert asked <= sum(node.cpus for node in nodes)
    assert (lanes.lane(True), lanes.lane(False)) == (gpu, cpu)


def test_without_a_gpu_there_is_one_lane() -> None:
    lanes = make_lanes([NodeResources(8, 0)], concurrency=None, gpus_per_trial=1.0)
    assert lanes == Lanes(Lane("cpu", 4, 2.0))
    assert lanes.lane(True) == lanes.lane(False) == lanes.cpu
    assert make_lanes([NodeResources(8, 2)], concurrency=3, gpus_per_trial=0.0) == Lanes(Lane("cpu", 3, 2.0))
    assert make_lanes([NodeResources(1, 0)], concurrency=None, gpus_per_trial=1.0).cpu == Lane("cpu", 2, 1.0)
    capped = make_lanes([NodeResources(32, 4)], concurrency=2, gpus_per_trial=1.0)
    assert capped.gpu is not None
    assert (capped.gpu.at_once, capped.cpu.at_once) == (2, 2)


def test_cores_are_those_of_the_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(128)))
    (tmp_path / "cpu.max").write_text("600000 100000\n")
    cores = usable_cores(tmp_path)
    lanes = make_lanes([NodeResources(cores, 1)], concurrency=None, gpus_per_trial=1.0)
    assert (cores, lanes.cpu) == (6, Lane("cpu", 1, 4.0))


@pytest.mark.parametrize(
    ("memory", "busy", "trials"),
    [
        (0.2, 0.4, 2),
        (0.2, 0.15, 4),
        (0.35, 0.15, 2),
        (0.5, 0.1, 1),
        (0.1, 0.9, 1),
        (0.0, 0.1, 1),
        (0.1, 0.0, 1),
    ],
)
def test_a_card_is_shared_by_memory_and_time(memory: float, busy: float, trials: int) -> None:
    assert trials_a_card(memory_share=memory, busy_share=busy) == trials


def test_a_card_that_waits_for_its_host_gets_a_second_trial() -> None:
    card = CardUse(floor_seconds=25.0)
    assert card.trials == 1  # nothing measured
    for seconds in (45.0, 55.0):
        card.epoch(seconds, 0.15)
    assert (card.busy_share, card.trials) == (0.5, 2)
    before = make_lanes([NodeResources(6, 1)], concurrency=None, gpus_per_trial=1.0)
    after = before.sharing(card.trials)
    assert after.gpu == Lane("gpu", 2, 1.0, 0.5)
    assert (after.cpu, after.trials_a_card, after.sharing(2)) == (before.cpu, 2, after)
    assert CardUse().trials == 1  # a card whose bandwidth is not known


def test_every_family_says_whether_it_uses_a_gpu() -> None:
    on_gpu = {name for name in {**FAMILIES, **LIST_FAMILIES} if search_family(name).uses_gpu}
    assert on_gpu == {"hybrid_vae", "mf", "bayes_mf", "item_gp", "als", "ease", "edlae"}


def test_a_full_lane_does_not_hold_up_the_other() -> None:
    families = {0: "hybrid_vae", 1: "hybrid_vae", 2: "bias", 3: "popularity", 4: "hybrid_vae"}
    lanes = Lanes(Lane("cpu", 1, 1.0), Lane("gpu", 1, 2.0, 1.0))

    def compose(number: int, draw: Any) -> Proposal:
        return Proposal(TrialSpec(number, "t", families[number], {}, epochs=1, seed=0), None)

    queue = TrialQueue(
        families={},
        numbers=list(families),
        unfinished=[],
        compose=compose,
        journal=lambda proposal: None,
        is_open=lambda: True,
        lane_of=lambda number: lanes.lane(search_family(families[number]).uses_gpu),
    )

    def started(name: str) -> tuple[int, Any]:
        row = queue.suggest(name)
        assert isinstance(row, dict)
        return row["number"], row["resources"]

    assert started("a") == (0, {"CPU": 2.0, "GPU": 1.0})
    assert started("b") == (2, {"CPU": 1.0})
    assert queue.suggest("c") is None  # both lanes are full
    queue.on_trial_complete("b", {})
    assert started("c")[0] == 3
    queue.on_trial_complete("a", {})
    assert started("d")[0] == 1
    queue.on_trial_complete("c", {})
    assert queue.suggest("e") is None  # only trials of the full lane are left
    queue.on_trial_complete("d", None, error=True)
    queue.is_abandoned(1)
    assert started("e")[0] == 4
