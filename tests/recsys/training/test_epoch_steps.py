"""An epoch of a set number of steps: for a run on much data that has to be short."""

from __future__ import annotations

from pathlib import Path

from recsys.training.trial import Trial
from recsys.training.trial_types import TrialSpec
from search.config.plan import make_plan
from search.run.workload import workload_of
from tests.small_ratings import checkerboard, training_data

DATA = training_data(checkerboard(users=120, items=80))
CONFIG = {"factors": 4, "hidden": [8], "latent": 2, "batch_size": 2048, "start": "random"}


def steps(folder: Path, *, most: int | None) -> list[int]:
    """The batches of two epochs."""
    spec = TrialSpec(0, "short", "hybrid_vae", CONFIG, epochs=2, seed=0, epoch_steps=most)
    trial = Trial(spec, DATA, folder=folder)
    counted: list[int] = []
    step = trial.trainer._step  # type: ignore[attr-defined]

    def counting(rows, *rest):  # type: ignore[no-untyped-def]
        counted.append(trial.trainer.epoch)  # type: ignore[attr-defined]
        return step(rows, *rest)

    trial.trainer._step = counting  # type: ignore[attr-defined]
    for _ in range(2):
        trial.step()
    return counted


def test_an_epoch_has_at_most_so_many_steps(tmp_path: Path) -> None:
    whole = -(-len(DATA.train) // 2048)
    assert whole > 1
    assert steps(tmp_path / "whole", most=None) == [0] * whole + [1] * whole
    assert steps(tmp_path / "short", most=1) == [0, 1]
    assert steps(tmp_path / "roomy", most=whole + 5) == [0] * whole + [1] * whole


def test_the_quote_counts_with_them() -> None:
    plan = make_plan({"data": "ml-32m", "split": "future-holdout"}, {})
    whole, short = workload_of(plan), workload_of(plan.model_copy(update={"epoch_steps": 100}))
    assert whole is not None
    assert short is not None
    assert (whole.steps, short.steps) == (10_001, 100)
