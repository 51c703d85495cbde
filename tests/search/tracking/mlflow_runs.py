"""What the tests tell a tracker, and what MLflow then has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from recsys.training.trial_types import TrialResult
from search.tracking import Tracker
from search.tracking.mlflow_writer import EXPERIMENT
from search.tracking.model_registry import model_name

NAME = model_name("made-up", "ab" * 32)


def client_of(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_of(uri: str, name: str) -> dict[str, Any]:
    """Nested runs of the run called ``name``, by name, and the run itself under its own."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.info.run_name == name and "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len({run.info.run_name for run in nested}) == len(nested)
    return {name: parents[0], **{run.info.run_name: run for run in nested}}


def tell_all(tracker: Tracker, trials: tuple[TrialResult, ...]) -> None:
    for trial in trials:
        tracker.trial_started(trial.spec)
        for report in trial.reports:
            tracker.epoch(trial.spec, report)
        for event in trial.events:
            tracker.event(event)
        tracker.trial_finished(trial)


def make_release(folder: Path, text: str) -> Path:
    release = folder / "release"
    release.mkdir(parents=True)
    (release / "manifest.json").write_text(text)
    (release / "members").mkdir()
    (release / "members" / "weights.bin").write_bytes(bytes(1000))
    return release
