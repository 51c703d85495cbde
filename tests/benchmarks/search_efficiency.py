"""How soon a search reaches a target: this one, random search, and plain Optuna TPE, over many seeds.

    python -m tests.benchmarks.search_efficiency --seeds 24

Trials are not trained: their learning curves come from a table of real ones (learning_curves.csv, see
learning_curves.py). Between its configs the curve is a surrogate: the mean of the nearest ones, weighted by
closeness. The target is what the best tenth of the table's configs reach; the search's own parts run as
they are (FamilySearch, FamilyPruning). Every search draws from the same space and starts from nothing:
no formula, no template.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from recsys.bounds import DataShape
from recsys.models.ranges import Choice, Range, Real
from recsys.training.trials import TrialSpec
from recsys.types import JsonObject
from search.planning.plan import Pruning
from search.planning.sources import synthetic_sizes
from search.proposing.proposals import FamilySearch, SamplerSettings
from search.proposing.space import Space
from search.runner.pruning import FamilyPruning
from tests.benchmarks.learning_curves import DATA, FIXED, TABLE, Random

SIZES = synthetic_sizes(DATA)
SHAPE = DataShape(users=SIZES["users"], items=SIZES["items"])
NEAREST = 4
MOST_TRIALS = 120
TARGET_SHARE = 0.1
RESAMPLES = 4000


@dataclass(frozen=True)
class Curves:
    """The table: ``places`` (configs, axes) in the unit cube, ``rmse`` (configs, epochs)."""

    ranges: dict[str, Range]
    places: NDArray[np.float64]
    rmse: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path, ranges: dict[str, Range]) -> Curves:
        with path.open() as file:
            rows = list(csv.DictReader(file))
        epochs = sum(name.startswith("rmse_") for name in rows[0])
        rmse = np.array([[float(row[f"rmse_{epoch + 1}"]) for epoch in range(epochs)] for row in rows])
        return cls(ranges, np.array([place_of(row, ranges) for row in rows]), rmse)

    @property
    def epochs(self) -> int:
        return self.rmse.shape[1]

    @property
    def target(self) -> float:
        """The best rmse that a tenth of the configs reach."""
        return float(np.quantile(self.rmse.min(axis=1), TARGET_SHARE))

    def of(self, draws: JsonObject) -> NDArray[np.float64]:
        """(epochs,) rmse of a config: the table's own row where it is one."""
        far = np.linalg.norm(self.places - place_of(draws, self.ranges), axis=1)
        near = np.argsort(far)[:NEAREST]
        weights = 1 / (far[near] + 1e-9) ** 2
        curve: NDArray[np.float64] = weights @ self.rmse[near] / weights.sum()
        return curve


def place_of(draws: JsonObject, ranges: dict[str, Range]) -> NDArray[np.float64]:
    """Draws in the unit cube: numbers by their range (logarithm where it is drawn so), options one-hot."""
    place: list[float] = []
    for name, span in ranges.items():
        if isinstance(span, Choice):
            place += [np.sqrt(0.5) * (draws[name] == option) for option in span.options]
        else:
            value, low, high = float(draws[name]), span.low, span.high
            if isinstance(span, Real) and span.log:
                value, low, high = np.log(value), np.log(low), np.log(high)
            place.append((value - low) / (high - low))
    return np.array(place)


@dataclass(frozen=True)
class Spent:
    """What it took to reach the target."""

    epochs: int
    trials: int


def ours(space: Space, curves: Curves, seed: int) -> Spent:
    """TPE that is told who was pruned, and ASHA."""
    family = FamilySearch(space, SamplerSettings(seed, 6, False, ("rmse",), None))
    told: list[int] = []
    pruning = FamilyPruning(
        Pruning(grace_epochs=curves.epochs // 3, reduction=2), max_epochs=curves.epochs, prune=told.append
    )
    spent = 0
    for number in range(MOST_TRIALS):
        _, draws = family.propose(str(number), number)
        trial, controller = _Tried(number, curves.epochs), None
        pruning.on_trial_add(controller, trial)
        best = np.inf
        for epoch, rmse in enumerate(curves.of(draws), start=1):
            spent, best = spent + 1, min(best, float(rmse))
            if best <= curves.target:
                return Spent(spent, number + 1)
            row = {"epoch": epoch, "rmse": best}
            pruning.on_trial_result(controller, trial, row)
            family.on_trial_result(str(number), row)
            if number in told:
                break
        status = "pruned" if number in told else "finished"
        family.on_trial_complete(str(number), {"status": status, "rmse": best, "gap": 0.0})
    return Spent(spent, MOST_TRIALS)


def random_search(space: Space, curves: Curves, seed: int) -> Spent:
    def draw(number: int) -> JsonObject:
        suggester = Random(seed * MOST_TRIALS + number + 1_000_000)
        space.draw(suggester)
        return suggester.draws

    return _whole_trials(curves, draw, lambda best: None)


def plain_tpe(space: Space, curves: Curves, seed: int) -> Spent:
    """Optuna as it comes, every trial to its end."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    asked: list[optuna.Trial] = []

    def draw(number: int) -> JsonObject:
        asked.append(study.ask())
        space.draw(asked[-1])
        return dict(asked[-1].params)

    return _whole_trials(curves, draw, lambda best: study.tell(asked[-1], best))


def _whole_trials(curves: Curves, draw: Callable[[int], JsonObject], tell: Callable[[float], Any]) -> Spent:
    for number in range(MOST_TRIALS):
        curve = curves.of(draw(number))
        reached = np.flatnonzero(curve <= curves.target)
        if len(reached):
            return Spent(number * curves.epochs + int(reached[0]) + 1, number + 1)
        tell(float(curve.min()))
    return Spent(MOST_TRIALS * curves.epochs, MOST_TRIALS)


class _Tried:
    def __init__(self, number: int, epochs: int) -> None:
        self.trial_id = str(number)
        self.config = {"spec": vars(TrialSpec(number, "", "hybrid_vae", {}, epochs=epochs, seed=0))}


def median_and_interval(values: list[int]) -> str:
    """Median and a 95% bootstrap interval of it."""
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return f"{np.median(values):.0f} ({low:.0f} to {high:.0f})"


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--seeds", type=int, default=24)
    command.add_argument("--table", type=Path, default=TABLE)
    options = command.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = Space("hybrid_vae", SHAPE, fixed=FIXED)
    curves = Curves.read(options.table, space.ranges)
    print(
        f"{len(curves.rmse)} recorded curves of {curves.epochs} epochs, nearest-neighbour surrogate between "
        f"them; target rmse {curves.target:.4f} stars (the best tenth); {options.seeds} seeds"
    )
    searches = {"this search": ours, "random search": random_search, "plain Optuna TPE": plain_tpe}
    spent = {
        name: [search(space, curves, seed) for seed in range(options.seeds)]
        for name, search in searches.items()
    }
    print(f"{'median (95% interval) to the target':<24}{'epochs':>22}{'trials':>20}{'epochs / ours':>16}")
    base = float(np.median([one.epochs for one in spent["this search"]]))
    for name, rows in spent.items():
        epochs, trials = [one.epochs for one in rows], [one.trials for one in rows]
        ratio = f"{np.median(epochs) / base:.1f}x"
        print(f"{name:<24}{median_and_interval(epochs):>22}{median_and_interval(trials):>20}{ratio:>16}")


if __name__ == "__main__":
    main()
