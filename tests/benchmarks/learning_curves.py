"""Record a table of real learning curves: configs drawn at random from the search's own space, trained whole.

    python -m tests.benchmarks.learning_curves --configs 80

One row a config: what was drawn, then valid rmse after each epoch. Figures only, no rating. Rows that are
there already are kept, so that a recording can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from recsys.bounds import DataShape
from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.models.registry import make_config
from recsys.seeds import derive_seed
from recsys.training.trial import TrainingFailed, Trial
from recsys.training.trials import TrialSpec
from recsys.types import JsonObject
from search.planning.sources import Source
from search.proposing.space import Space, plain

DATA = "synthetic:users=200,items=150,ratings=6000"
TABLE = Path(__file__).with_name("learning_curves.csv")
# A factorisation start costs a sampler's run in every trial: left out, so that an epoch is an epoch.
FIXED = {"start": "random", "patience": 1000}


class Random:
    """A suggester that draws evenly, and keeps what it drew."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.draws: JsonObject = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = self._random.uniform(np.log(low) if log else low, np.log(high) if log else high)
        return self._keep(name, float(np.exp(value) if log else value))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self._keep(name, low + step * int(self._random.integers((high - low) // step + 1)))

    def suggest_categorical(self, name: str, choices: list[str]) -> Any:
        return self._keep(name, choices[int(self._random.integers(len(choices)))])

    def _keep(self, name: str, value: Any) -> Any:
        self.draws[name] = value
        return value


def space_of(data: TrainingData) -> Space:
    return Space("hybrid_vae", DataShape.of(data), fixed=FIXED)


def curve(space: Space, data: TrainingData, number: int, epochs: int) -> tuple[JsonObject, list[float]]:
    """What config ``number`` draws, and its valid rmse after each epoch; one that breaks stays as it was."""
    suggester = Random(derive_seed(0, "curve", number))
    config = plain(make_config("hybrid_vae", space.draw(suggester)))
    spec = TrialSpec(number, str(number), "hybrid_vae", config, epochs=epochs, seed=number, early_stop=True)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(spec, data, folder=Path(folder))
        try:
            while not trial.finished:
                trial.step()
        except TrainingFailed:
            pass
    figures = [report.rmse for report in trial.reports]
    return suggester.draws, figures + [figures[-1] if figures else 2.0] * (epochs - len(figures))


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--data", default=DATA)
    command.add_argument("--configs", type=int, default=80)
    command.add_argument("--epochs", type=int, default=18)
    command.add_argument("--table", type=Path, default=TABLE)
    options = command.parse_args()
    dataset = Source(options.data).load()
    data = training_data(dataset, make_split(dataset, "random", seed=0))
    space = space_of(data)
    done = len(options.table.read_text().splitlines()) - 1 if options.table.exists() else 0
    with options.table.open("a", newline="") as file:
        writer = csv.writer(file)
        names = list(space.ranges)
        if done <= 0:
            writer.writerow([*names, *(f"rmse_{epoch}" for epoch in range(1, options.epochs + 1))])
        for number in range(max(done, 0), options.configs):
            draws, figures = curve(space, data, number, options.epochs)
            writer.writerow([*(draws[name] for name in names), *(f"{figure:.5f}" for figure in figures)])
            file.flush()
            print(f"{number + 1} of {options.configs}: {min(figures):.4f}", flush=True)


if __name__ == "__main__":
    main()
