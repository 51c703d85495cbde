"""A search on a Ray that was told of a GPU: two trials share neither it nor hold up those that use none."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import ray

from recsys.training.trial_types import EpochReport, RunEvent, TrialResult, TrialSpec
from search.config.plan import make_plan
from search.config.tracks import search_family
from search.sampling.lanes import Lane
from search.sampling.remaining_work import Work
from search.sampling.trial_factory import Draw, Proposal
from search.tune.ray_cluster import ray_cluster
from search.tune.tuner import Search
from tests.small_ratings import checkerboard, training_data

pytestmark = pytest.mark.slow  # starts Ray and three workers
FAMILIES = ["mf", "mf", "bias", "bias"]


class Order:
    """A listener that writes down who started and ended when, and on what."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def trial_started(self, spec: TrialSpec) -> None:
        self.rows.append(f"start {spec.number}")

    def trial_finished(self, result: TrialResult) -> None:
        self.rows.append(f"end {result.spec.number} {result.status.value}")

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        """Not needed."""

    def event(self, event: RunEvent) -> None:
        """Not needed."""


def test_trials_without_a_gpu_run_beside_the_one_that_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", functools.partial(ray.init, num_gpus=1))
    order, nothing = Order(), lambda *_: None

    def compose(number: int, draw: Draw) -> Proposal:
        config: dict[str, Any] = {"factors": 2} if FAMILIES[number] == "mf" else {}
        return Proposal(TrialSpec(number, "t", FAMILIES[number], config, epochs=2, seed=0), None)

    search = Search(
        run=tmp_path / "run",
        plan=make_plan({}, {"objective": "rating"}),
        data=training_data(checkerboard(users=40, items=30)),
        lists=None,
        families={},
        compose=compose,
        journal=nothing,
        listener=order,
        should_end=nothing,
        tick=nothing,
        patience=lambda: 60.0,
        uses_gpu=lambda number: search_family(FAMILIES[number]).uses_gpu,
    )
    with ray_cluster(concurrency=1, gpus_per_trial=1.0, data_bytes=0) as resources:
        assert resources.lanes.gpu == Lane("gpu", 1, resources.lanes.gpu.cpus, 1.0)  # type: ignore[union-attr]
        search.execute(Work(done=[], unfinished=[], numbers=[0, 1, 2, 3]), resources)

    index = {row: number for number, row in enumerate(order.rows)}
    assert sum(row.endswith("finished") for row in order.rows) == 4
    assert index["start 2"] < index["start 1"]  # the GPU is held by 0; 2 does not wait for it
    assert index["end 0 finished"] < index["start 1"]
    assert index["end 2 finished"] < index["start 3"]
