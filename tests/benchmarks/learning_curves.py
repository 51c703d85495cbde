"""Record a table of real learning curves: configs drawn at random from the search's own space, trained whole.

    python -m tests.benchmarks.learning_curves tuned --configs 150
    python -m tests.benchmarks.learning_curves judged --configs 150

One row a config: what was drawn, then valid rmse after each epoch. Figures only, no rating. Rows that are
there already are kept, so that a recording can be stopped and gone on with. The two tables share nothing:
other ratings of another size, another split, other configs. Settings are chosen on "tuned" alone.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recsys.bounds import DataShape
from recsys.data.data_spec import DataSpec
from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.data.synthetic import parse_spec
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.family import search_ranges
from recsys.models.ranges import Categorical, Range
from recsys.models.registry import make_config
from recsys.seeds import derive_seed
from recsys.training.serialization import plain
from recsys.training.trial import TrainingFailed, Trial
from recsys.training.trial_types import TrialSpec
from recsys.types import JsonObject
from search.sampling.search_space import Space

EPOCHS = 18
# A factorisation start costs a sampler's run in every trial: left out, so that an epoch is an epoch.
FIXED = {"start": "random", "patience": 1000}


@dataclass(frozen=True)
class RecordedSpace(Space):
    """``recorded``: what a table's configs drew of each field. An option that came to the search later is
    left out."""

    recorded: Mapping[str, set[str]] = field(default_factory=dict)

    @property
    def ranges(self) -> dict[str, Range]:
        return {name: self._narrowed(name, span) for name, span in super().ranges.items()}

    def _narrowed(self, name: str, span: Range) -> Range:
        if not isinstance(span, Categorical) or name not in self.recorded:
            return span
        return Categorical({key: value for key, value in span.options.items() if key in self.recorded[name]})


@dataclass(frozen=True)
class Recording:
    """A table's file, its ratings, and the seed of split and draws."""

    file: str
    data: str
    seed: int

    @property
    def path(self) -> Path:
        return Path(__file__).with_name(self.file)

    @property
    def space(self) -> Space:
        """What the table's configs were drawn from: a field that came to the search later stays as it was."""
        spec = parse_spec(self.data)
        recorded = self.recorded()
        later = {
            name: getattr(HybridVaeConfig(), name)
            for name in search_ranges()
            if recorded and name not in recorded
        }
        shape = DataShape(users=spec.users, items=spec.items)
        return RecordedSpace("hybrid_vae", shape, fixed={**later, **FIXED}, recorded=recorded)

    def recorded(self) -> dict[str, set[str]]:
        """The values in each column of the table; empty before there is one."""
        if not self.path.exists():
            return {}
        with self.path.open() as file:
            rows = list(csv.DictReader(file))
        return {name: {row[name] for row in rows} for name in (rows[0] if rows else {})}

    def training_data(self) -> TrainingData:
        dataset = DataSpec(self.data).load()
        return training_data(dataset, make_split(dataset, "random", seed=self.seed))


TABLES = {
    "tuned": Recording("curves_tuned.csv", "synthetic:users=200,items=150,ratings=6000", 0),
    "judged": Recording("curves_judged.csv", "synthetic:users=250,items=200,ratings=9000,seed=1", 1),
}


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


def curve(table: Recording, data: TrainingData, number: int) -> tuple[JsonObject, list[float]]:
    """What config ``number`` draws, and its valid rmse after each epoch; one that breaks stays as it was."""
    suggester = Random(derive_seed(table.seed, "curve", number))
    config = plain(make_config("hybrid_vae", table.space.draw(suggester)))
    spec = TrialSpec(number, str(number), "hybrid_vae", config, epochs=EPOCHS, seed=number)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(spec, data, folder=Path(folder))
        try:
            while not trial.finished:
                trial.step()
        except TrainingFailed:
            pass
    figures = [report.rmse for report in trial.reports]
    return suggester.draws, figures + [figures[-1] if figures else 2.0] * (EPOCHS - len(figures))


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("table", choices=sorted(TABLES))
    command.add_argument("--configs", type=int, default=150)
    options = command.parse_args()
    table = TABLES[options.table]
    data = table.training_data()
    done = len(table.path.read_text().splitlines()) - 1 if table.path.exists() else -1
    with table.path.open("a", newline="") as file:
        writer = csv.writer(file)
        names = list(table.space.ranges)
        if done < 0:
            writer.writerow([*names, *(f"rmse_{epoch}" for epoch in range(1, EPOCHS + 1))])
        for number in range(max(done, 0), options.configs):
            draws, figures = curve(table, data, number)
            writer.writerow([*(draws[name] for name in names), *(f"{figure:.5f}" for figure in figures)])
            file.flush()
            print(f"{number + 1} of {options.configs}: {min(figures):.4f}", flush=True)


if __name__ == "__main__":
    main()
