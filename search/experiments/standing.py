"""How an experiment or a search stands: read from its folder, for lists, comparisons and reviews."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError
from recsys.training.trials import TrialResult
from search.experiments.card import FOLDER, Card, cards, read_card, run_path
from search.results import Results, read_results, read_trials
from search.results.schema import Figures, ModelResult

REVIEWS = "reviews"


@dataclass(frozen=True)
class Standing:
    """``state``: created, unfinished, finished, budget, interrupted, or unreadable. ``started`` is Unix
    seconds, None before. ``card`` is None for a search."""

    name: str
    folder: Path
    state: str
    started: float | None = None
    card: Card | None = None
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
    def valid(self) -> Figures:
        return (self.model.valid if self.model else None) or Figures()

    @property
    def test(self) -> Figures:
        return (self.model.test if self.model else None) or Figures()


def experiment_standing(home: Path, name: str) -> Standing:
    """How the experiment ``name`` stands. Raises InputError where there is none."""
    card = read_card(home, name)
    return _standing(run_path(home, name), name=name, card=card)


def any_standing(home: Path, name: str) -> Standing:
    """An experiment, or a search in ``home``, by name. Raises InputError where there is neither."""
    folder = home / name
    if not (home / FOLDER / f"{name}.yaml").exists() and (folder / "run.json").exists():
        return _standing(folder, name=name)
    return experiment_standing(home, name)


def experiment_standings(home: Path) -> list[Standing]:
    """All experiments, the oldest card first; a broken card is left out of no list."""
    found = []
    for path in cards(home):
        try:
            found.append(experiment_standing(home, path.stem))
        except InputError:
            found.append(Standing(path.stem, run_path(home, path.stem), "unreadable"))
    return sorted(found, key=lambda standing: standing.card.created if standing.card else "")


def search_standings(home: Path) -> list[Standing]:
    """All searches in ``home``, by name."""
    if not home.is_dir():
        return []
    folders = sorted(path for path in home.iterdir() if path.is_dir() and path.name not in (FOLDER, REVIEWS))
    return [_standing(folder, name=folder.name) for folder in folders if (folder / "run.json").exists()]


def _standing(folder: Path, *, name: str, card: Card | None = None) -> Standing:
    started = _started(folder)
    if not folder.exists():
        return Standing(name, folder, "created", card=card)
    try:
        results = read_results(folder)
        trials = tuple(read_trials(folder))
    except InputError:
        state = "unreadable" if (folder / "results.json").exists() else "unfinished"
        return Standing(name, folder, state, started=started, card=card)
    return Standing(name, folder, results.status, results.started, card, results, trials)


def _started(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / "run.json").read_text())["created"])
    except (OSError, ValueError, KeyError):
        return None
