"""A run's folder with finished trials, and what finishing makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.split import Split
from recsys.data.splits import training_data
from recsys.training.trial import Trial
from recsys.training.trial_types import TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.config.plan import make_plan
from search.finalize.finalizer import Finalizer
from search.finalize.finished_run import FinishedRun
from search.results.build import start_results
from search.storage.trial_dir import read_result, trial_folder


def train(folder: Path, specs: Sequence[TrialSpec], dataset: Dataset, split: Split) -> Path:
    """``folder``, with every trial of ``specs`` trained to its end."""
    for spec in specs:
        trial = Trial(spec, training_data(dataset, split), folder=trial_folder(folder, spec.number))
        while not trial.finished:
            trial.step()
        trial.finish(TrialStatus.FINISHED)
    return folder


def results(run: Path) -> list[TrialResult]:
    return [read_result(folder) for folder in sorted((run / "trials").iterdir())]


def finished(run: Path, plan: JsonObject, dataset: Dataset, split: Split) -> tuple[FinishedRun, list[str]]:
    """What finishing by ``plan`` made, and what it printed."""
    said: list[str] = []
    finalizer = Finalizer(run, make_plan(plan, {}), dataset, split, log=said.append)
    return finish(finalizer, run, dataset, split), said


def finish(finalizer: Finalizer, run: Path, dataset: Dataset, split: Split) -> FinishedRun:
    trials = results(run)
    empty = start_results(
        name=run.name, command=[], started=0.0, plan={}, dataset=dataset, split=split, trials=trials
    )
    return finalizer.finish(trials, empty)
