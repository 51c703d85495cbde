"""Real worker processes that are stopped (SIGSTOP) in the middle of a search: seen, ended, gone on from."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from recsys.training.trial import Trial
from recsys.training.trial_types import EpochReport, EventKind, RunEvent, TrialResult, TrialSpec, TrialStatus
from search.config.plan import make_plan
from search.sampling.remaining_work import Work
from search.sampling.trial_factory import Draw, Proposal
from search.tune.ray_cluster import ray_cluster
from search.tune.tuner import Search
from tests.end_to_end.commands import worker_of
from tests.small_ratings import checkerboard, training_data

pytestmark = pytest.mark.system  # starts Ray and two workers: half a minute on one core
DATA = training_data(checkerboard(users=60, items=40))
SMALL = {"factors": 8, "hidden": [16], "latent": 4}
EPOCHS, DEATHS = 4, 1
FLOOR_SECONDS = 6.0
GONE_SECONDS = 60.0  # Ray gives a process 5 seconds to end itself


def spec_of(number: int) -> TrialSpec:
    return TrialSpec(number, str(number), "hybrid_vae", SMALL, epochs=EPOCHS, seed=number, prunable=False)


@dataclass
class Stopper:
    """A listener that stops the worker of a trial whenever it has trained an epoch."""

    stopped: list[int] = field(default_factory=list)
    events: list[RunEvent] = field(default_factory=list)
    results: dict[int, TrialResult] = field(default_factory=dict)
    rmse: dict[int, float] = field(default_factory=dict)  # by epoch

    def trial_started(self, spec: TrialSpec) -> None:
        """Nothing."""

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        assert self.rmse.setdefault(report.epoch, report.rmse) == report.rmse  # told again after a restart
        if report.epoch > len(self.stopped):
            (worker,) = set(worker_of(os.getpid())) - set(self.stopped)
            os.kill(worker, signal.SIGSTOP)
            self.stopped.append(worker)

    def event(self, event: RunEvent) -> None:
        self.events.append(event)

    def trial_finished(self, result: TrialResult) -> None:
        self.results[result.spec.number] = result


def search(folder: Path, listener: Stopper) -> None:
    """One trial."""

    def compose(number: int, draw: Draw) -> Proposal:
        return Proposal(spec_of(number), None)

    changes = {"checkpoint_seconds": 0, "worker_deaths": DEATHS, "silence_seconds": FLOOR_SECONDS}

    def nothing(*_: Any) -> None:
        return None

    run = Search(
        run=folder,
        plan=make_plan({}, {"concurrency": 1, **changes}),
        data=DATA,
        families={},
        compose=compose,
        journal=nothing,
        listener=listener,
        lists=None,
        should_end=nothing,
        tick=nothing,
        patience=lambda: 60.0,
    )
    with ray_cluster(concurrency=1, gpus_per_trial=0, data_bytes=0) as resources:
        run.execute(Work(done=[], unfinished=[], numbers=[0]), resources)
        end = time.monotonic() + GONE_SECONDS
        while any(Path(f"/proc/{pid}").exists() for pid in listener.stopped):
            assert time.monotonic() < end, "a stopped process was not ended"
            time.sleep(0.1)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In Ray's workers and here: the last digits of a float32 sum depend on the number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_stopped_worker_is_ended_and_its_trial_goes_on_so_often_and_no_more(tmp_path: Path) -> None:
    listener = Stopper()
    search(tmp_path / "run", listener)

    hangs = [event for event in listener.events if event.kind is EventKind.UNRESPONSIVE]
    assert [(event.trial, event.epoch) for event in hangs] == [(0, 1), (0, 2)]
    for event in hangs:
        assert event.value is not None
        assert event.threshold is not None
        assert event.value > event.threshold >= FLOOR_SECONDS
    assert "continues from its last checkpoint" in hangs[0].action
    assert "recorded as failed" in hangs[1].action
    assert len(set(listener.stopped)) == 1 + DEATHS

    alone = Trial(spec_of(0), DATA, folder=tmp_path / "alone")
    assert [alone.step().rmse, alone.step().rmse] == [listener.rmse[1], listener.rmse[2]]
    result = listener.results[0]
    assert result.status is TrialStatus.FAILED
    assert "stopped responding" in result.error
