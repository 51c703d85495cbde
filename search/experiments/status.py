"""How an experiment or a search stands: read from its folder, for lists, comparisons and reviews."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError
from recsys.training.trial_types import TrialResult
from search.experiments.experiment_spec import FOLDER, ExperimentSpec, read_spec, run_path, spec_paths
from search.results import Results, read_results, read_trials
from search.results.schema import Metrics, ModelResult

REVIEWS = "reviews"


@dataclass(frozen=True)
class ExperimentStatus:
    """``state``: created, unfinished, finished, budget, interrupted, or unreadable. ``started`` is Unix
    seconds, None before. ``card`` is None for a search."""

    name: str
    folder: Path
    state: str
    started: float | None = None
    card: ExperimentSpec | None = None
    results: Results | None = None
    trials: tuple[TrialResult, ...] = ()

    @property
    def model(self) -> ModelResult | None:
        """What it came to: the blend where several were trained, otherwise the best trial."""
        if self.results is None:
            return None
        ensemble = self.results.ensemble
        if ensemble is not None and len(self.trials) > 1:
            return ensemble
        return self.results.best or ensemble

    @property
    def valid(self) -> Metrics:
        return (self.model.valid if self.model else None) or Metrics()

    @property
    def test(self) -> Metrics:
        return (self.model.test if self.model else None) or Metrics()


def experiment_status(home: Path, name: str) -> ExperimentStatus:
    """How the experiment ``name`` stands. Raises InputError where there is none."""
    card = read_spec(home, name)
    return _status(run_path(home, name), name=name, card=card)


def any_status(home: Path, name: str) -> ExperimentStatus:
    """An experiment, or a search in ``home``, by name. Raises InputError where there is neither."""
    folder = home / name
    if not (home / FOLDER / f"{name}.yaml").exists() and (folder / "run.json").exists():
        return _status(folder, name=name)
    return experiment_status(home, name)


def experiment_statuses(home: Path) -> list[ExperimentStatus]:
    """All experiments, the oldest card first; a broken card is left out of no list."""
    statuses = []
    for path in spec_paths(home):
        try:
            statuses.append(experiment_status(home, path.stem))
        except InputError:
            statuses.append(ExperimentStatus(path.stem, run_path(home, path.stem), "unreadable"))
    return sorted(statuses, key=lambda status: status.card.created if status.card else "")


def search_statuses(home: Path) -> list[ExperimentStatus]:
    """All searches in ``home``, by name."""
    if not home.is_dir():
        return []
    folders = sorted(path for path in home.iterdir() if path.is_dir() and path.name not in (FOLDER, REVIEWS))
    return [_status(folder, name=folder.name) for folder in folders if (folder / "run.json").exists()]


def _status(folder: Path, *, name: str, card: ExperimentSpec | None = None) -> ExperimentStatus:
    started = _started(folder)
    if not folder.exists():
        return ExperimentStatus(name, folder, "created", card=card)
    try:
        results = read_results(folder)
        trials = tuple(read_trials(folder))
    except InputError:
        state = "unreadable" if (folder / "results.json").exists() else "unfinished"
        return ExperimentStatus(name, folder, state, started=started, card=card)
    return ExperimentStatus(name, folder, results.status, results.started, card, results, trials)


def _started(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / "run.json").read_text())["created"])
    except (OSError, ValueError, KeyError):
        return None
