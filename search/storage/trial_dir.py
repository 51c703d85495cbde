"""A trial's folder in a run: where it is, and its result as JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from recsys.ranking.list_validation import ListFigures
from recsys.training.serialization import trial_from_json
from recsys.training.trial_files import write_trial
from recsys.training.trial_types import TrialResult, TrialSpec, TrialStatus

RESULT = "result.json"
CHECKPOINT = "checkpoint"
MEMBER_FILES = ("member/member.json", "member/arrays.safetensors", "valid.npy")


def trial_folder(run: Path, number: int) -> Path:
    """trials/0003 of a run."""
    return run / "trials" / f"{number:04d}"


def read_result(folder: Path) -> TrialResult:
    """The result in ``folder``, its own folder named relative to the run."""
    row = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return replace(trial_from_json(row), folder=f"trials/{folder.name}")


def is_complete(folder: Path, result: TrialResult) -> bool:
    """Whether ``folder`` holds the files that ``result`` names: a broken copy may have brought it first."""
    if result.best_epoch is None:
        return True
    return all((folder / name).exists() for name in MEMBER_FILES)


def write_failure(folder: Path, spec: TrialSpec, *, error: str) -> None:
    """Record that a trial failed before its first epoch's end, with its reason."""
    write_trial(folder, _without_figures(folder, spec, TrialStatus.FAILED, error=error))


def write_list_trial(folder: Path, spec: TrialSpec, figures: ListFigures | None) -> None:
    """Record a finished list trial; without figures, one that was pruned."""
    result = _without_figures(folder, spec, TrialStatus.PRUNED if figures is None else TrialStatus.FINISHED)
    if figures is not None:
        result = replace(result, seconds=figures.seconds, list_metrics=figures.describe())
    write_trial(folder, result)


def _without_figures(folder: Path, spec: TrialSpec, status: TrialStatus, *, error: str = "") -> TrialResult:
    """A result without an epoch."""
    return TrialResult(
        spec=spec,
        status=status,
        best_epoch=None,
        loss=None,
        rmse=None,
        mae=None,
        kl=0.0,
        parameters=0,
        seconds=0.0,
        folder=f"trials/{folder.name}",
        error=error,
    )
