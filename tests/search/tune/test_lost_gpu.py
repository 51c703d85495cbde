"""A GPU that is paid for and gone ends the run with its reason; no trial goes on without it, none fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recsys.models.optim import device
from recsys.training.trial_types import TrialSpec
from search.config.plan import make_plan
from search.sampling.lanes import SINGLE_TRIAL
from search.sampling.remaining_work import Work
from search.storage.trial_dir import RESULT, trial_folder
from search.tune import trial_worker
from search.tune.ray_cluster import Resources
from search.tune.trial_worker import TrialWorker
from search.tune.tuner import RunFailure, Search
from tests.small_ratings import checkerboard, training_data

DATA = training_data(checkerboard(users=30, items=20))
SPEC = TrialSpec(0, "first", "mf", {"factors": 2}, epochs=3, seed=0)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialWorker:
    """A worker on the search's own node, without Ray, that may not go on without a GPU."""
    monkeypatch.setattr(trial_worker, "is_local", lambda folder: True)
    monkeypatch.setattr(trial_worker, "requested_end", lambda session, number: None)
    monkeypatch.setattr(trial_worker, "has_gpu", lambda: True)
    made = object.__new__(TrialWorker)
    made.setup({"number": 0, "spec": vars(SPEC)}, data=DATA, run=str(tmp_path), needs_gpu=True)
    return made


def test_a_trial_that_sees_no_gpu_ends_the_run(
    worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "fatal" not in worker.step()
    monkeypatch.setattr(trial_worker, "has_gpu", lambda: False)
    row = worker.step()
    assert row["done"]
    assert "the GPU that is paid for is gone" in row["fatal"]
    assert not (trial_folder(tmp_path, 0) / RESULT).exists()  # a resumed run goes on with it


def test_a_trial_that_uses_no_gpu_goes_on_without_one(
    worker: TrialWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_worker, "has_gpu", lambda: False)
    worker.reset_config({"number": 0, "spec": vars(replace(SPEC, family="bias", config={}))})
    assert "fatal" not in worker.step()


def test_a_broken_gpu_is_not_the_trials_failure(
    worker: TrialWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    worker.step()
    monkeypatch.setattr(type(worker._trial), "step", broken)
    monkeypatch.setattr(trial_worker, "is_lost", lambda device: True)
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        worker.step()
    assert not (trial_folder(tmp_path, 0) / RESULT).exists()
    monkeypatch.setattr(trial_worker, "is_lost", lambda device: False)
    assert worker.step()["status"] == "failed"  # any other error is its own


def test_a_cluster_on_which_ray_counts_no_gpu_is_refused(tmp_path: Path) -> None:
    def unused(*_: Any) -> Any:
        raise AssertionError("nothing may start")

    search = Search(
        run=tmp_path,
        plan=make_plan({}, {}),
        data=DATA,
        families={},
        compose=unused,
        journal=unused,
        listener=unused,  # type: ignore[arg-type]
        should_end=unused,
        tick=unused,
        patience=unused,
        lists=None,
        needs_gpu=True,
    )
    with pytest.raises(RunFailure, match=r"gone.*Ray counts none"):
        search.execute(Work(done=[], unfinished=[], numbers=[0]), Resources(SINGLE_TRIAL, 1, "local"))


def test_a_lost_gpu_is_told_from_a_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: Exception) -> Any:
        def zeros(*_: Any, **__: Any) -> Any:
            raise error

        return zeros

    gpu = torch.device("cuda")
    monkeypatch.setattr(device.torch, "zeros", raising(RuntimeError("CUDA error: device lost")))
    assert device.is_lost(gpu)
    assert not device.is_lost(torch.device("cpu"))
    monkeypatch.setattr(device.torch, "zeros", raising(torch.OutOfMemoryError("CUDA out of memory")))
    assert not device.is_lost(gpu)
