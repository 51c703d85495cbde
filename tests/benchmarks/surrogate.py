"""Learning curves of any config, from a recorded table: a surrogate, and how far it may be trusted.

Extremely randomised trees (Geurts et al. 2006) over the drawn values, one leaf a recorded curve: the way
of surrogate benchmarks (Eggensperger et al. 2015). Drawn options are one column each, numbers stand in
their range (in its logarithm where they are drawn so).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_predict

from recsys.models.ranges import Categorical, FloatRange, Range
from recsys.types import JsonObject

TREES = 60
FOLDS = 5
DRAWS = 4000  # random configs that say what a share of all configs reaches


@dataclass(frozen=True)
class Curves:
    """A table: ``places`` (configs, columns) drawn values, ``rmse`` (configs, epochs); and its trees."""

    ranges: dict[str, Range]
    places: NDArray[np.float64]
    rmse: NDArray[np.float64]
    trees: ExtraTreesRegressor

    @classmethod
    def read(cls, path: Path, ranges: dict[str, Range]) -> Curves:
        with path.open() as file:
            rows = list(csv.DictReader(file))
        epochs = sum(name.startswith("rmse_") for name in rows[0])
        rmse = np.array([[float(row[f"rmse_{epoch + 1}"]) for epoch in range(epochs)] for row in rows])
        positions = np.array([place_of(row, ranges) for row in rows])
        return cls(ranges, positions, rmse, new_trees().fit(positions, rmse))

    @property
    def epochs(self) -> int:
        return self.rmse.shape[1]

    def of(self, draws: JsonObject) -> NDArray[np.float64]:
        """(epochs,) valid rmse of a config, stars."""
        curve: NDArray[np.float64] = self.trees.predict(place_of(draws, self.ranges)[None])[0]
        return curve

    def best_of(self, draws: list[JsonObject]) -> NDArray[np.float64]:
        """(n,) lowest rmse of each config's curve."""
        positions = np.array([place_of(entry, self.ranges) for entry in draws])
        lowest: NDArray[np.float64] = self.trees.predict(positions).min(axis=1)
        return lowest

    def trust(self) -> float:
        """Spearman's correlation of the lowest rmse with what trees say that have not seen the config."""
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        unseen = cross_val_predict(new_trees(), self.places, self.rmse, cv=folds)
        return float(spearmanr(unseen.min(axis=1), self.rmse.min(axis=1)).statistic)


def new_trees() -> ExtraTreesRegressor:
    return ExtraTreesRegressor(TREES, random_state=0)


def place_of(draws: Mapping[str, object], ranges: dict[str, Range]) -> NDArray[np.float64]:
    """Drawn values as columns, numbers in [0, 1]."""
    index: list[float] = []
    for name, span in ranges.items():
        if isinstance(span, Categorical):
            index += [float(draws[name] == option) for option in span.options]
        else:
            value, low, high = float(str(draws[name])), float(span.low), float(span.high)
            if isinstance(span, FloatRange) and span.log:
                value, low, high = np.log(value), np.log(low), np.log(high)
            index.append((value - low) / (high - low))
    return np.array(index)
