"""How soon a search reaches a target: this one, random search, and plain Optuna TPE, over many seeds.

    python -m tests.benchmarks.search_efficiency judged --seeds 24

Trials are not trained: their curves come from a table of real ones (see learning_curves.py) and, between
its configs, from a surrogate (see surrogate.py). A target is what a share of random configs reaches. The
search's own parts run as they are (FamilySearch, FamilyPruning) with the settings of search/plans/quick.yaml,
the grace period scaled to the table's epochs. Every search draws from the same space and starts from nothing:
no formula, no template, no given points. Those settings were chosen on the table "tuned"; "judged" is other
ratings and other configs, looked at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from recsys.training.trial_types import TrialSpec
from recsys.types import JsonObject
from search.config.plan import FOLDER, PruningOptions, SearchPlan, load_plan
from search.sampling.family_sampler import FamilySampler, SamplerSettings
from search.sampling.search_space import Space
from search.tune.pruning import FamilyPruning
from tests.benchmarks.learning_curves import TABLES, Random
from tests.benchmarks.surrogate import DRAWS, Curves

MOST_TRIALS = 300
SHARES = (0.1, 0.02)  # of random configs that reach the target: an easy one, a hard one
RESAMPLES = 4000


@dataclass(frozen=True)
class Spent:
    """What it took to reach the target."""

    epochs: int
    trials: int


@dataclass(frozen=True)
class Task:
    """A space with its curves, and the rmse to reach."""

    space: Space
    curves: Curves
    target: float


def ours(task: Task, seed: int, plan: SearchPlan) -> Spent:
    """TPE that is told who was pruned, and ASHA."""
    curves, proposing = task.curves, plan.proposing
    settings = SamplerSettings(seed, proposing.startup_trials, proposing.multivariate, ("rmse",), None)
    family = FamilySampler(task.space, settings)
    grace = max(1, round(plan.pruning.grace_epochs * curves.epochs / plan.epochs))
    messages: list[int] = []
    pruning = FamilyPruning(
        PruningOptions(grace_epochs=grace, reduction=plan.pruning.reduction),
        max_epochs=curves.epochs,
        prune=messages.append,
    )
    spent = 0
    for number in range(MOST_TRIALS):
        _, draws = family.propose(str(number), number)
        trial, controller = _Tried(number, curves.epochs), None
        pruning.on_trial_add(controller, trial)
        best = np.inf
        for epoch, rmse in enumerate(curves.of(draws), start=1):
            spent, best = spent + 1, min(best, float(rmse))
            if best <= task.target:
                return Spent(spent, number + 1)
            row = {"epoch": epoch, "rmse": best}
            pruning.on_trial_result(controller, trial, row)
            family.on_trial_result(str(number), row)
            if number in messages:
                break
        status = "pruned" if number in messages else "finished"
        family.on_trial_complete(str(number), {"status": status, "rmse": best, "gap": 0.0})
    return Spent(spent, MOST_TRIALS)


def random_search(task: Task, seed: int) -> Spent:
    return _whole_trials(task, lambda number: drawn(task.space, seed, number), lambda best: None)


def plain_tpe(task: Task, seed: int) -> Spent:
    """Optuna as it comes, every trial to its end."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    asked: list[optuna.Trial] = []

    def draw(number: int) -> JsonObject:
        asked.append(study.ask())
        task.space.draw(asked[-1])
        return dict(asked[-1].params)

    return _whole_trials(task, draw, lambda best: study.tell(asked[-1], best))


def _whole_trials(task: Task, draw: Callable[[int], JsonObject], tell: Callable[[float], Any]) -> Spent:
    epochs = task.curves.epochs
    for number in range(MOST_TRIALS):
        curve = task.curves.of(draw(number))
        reached = np.flatnonzero(curve <= task.target)
        if len(reached):
            return Spent(number * epochs + int(reached[0]) + 1, number + 1)
        tell(float(curve.min()))
    return Spent(MOST_TRIALS * epochs, MOST_TRIALS)


def drawn(space: Space, seed: int, number: int) -> JsonObject:
    """A random config's draws."""
    suggester = Random(seed * MOST_TRIALS + number + 1_000_000)
    space.draw(suggester)
    return suggester.draws


class _Tried:
    def __init__(self, number: int, epochs: int) -> None:
        self.trial_id = str(number)
        self.config = {"spec": vars(TrialSpec(number, "", "hybrid_vae", {}, epochs=epochs, seed=0))}


def median_and_interval(values: list[int]) -> str:
    """Median and a 95% bootstrap interval of it."""
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return f"{np.median(values):.0f} ({low:.0f} to {high:.0f})"


def ratio_and_interval(theirs: list[int], own: list[int]) -> str:
    """Ratio of medians with a 95% bootstrap interval, both sides drawn apart."""
    random = np.random.default_rng(0)
    above, below = (np.median(random.choice(side, (RESAMPLES, len(side))), axis=1) for side in (theirs, own))
    low, high = np.quantile(above / below, (0.025, 0.975))
    return f"{np.median(theirs) / np.median(own):.1f}x ({low:.1f} to {high:.1f})"


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("table", choices=sorted(TABLES))
    command.add_argument("--seeds", type=int, default=24)
    command.add_argument("--plan", default="quick", help="whose proposing and pruning settings are ours")
    options = command.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = TABLES[options.table]
    plan = load_plan(FOLDER / f"{options.plan}.yaml")
    curves = Curves.read(table.path, table.space.ranges)
    lowest = curves.best_of([drawn(table.space, 10**6, number) for number in range(DRAWS)])
    print(
        f"{len(curves.rmse)} recorded curves of {curves.epochs} epochs on {table.data}; a surrogate between "
        f"them (rank correlation with unseen configs {curves.trust():.2f}); {options.seeds} seeds"
    )
    for share in SHARES:
        task = Task(table.space, curves, float(np.quantile(lowest, share)))
        print(f"\ntarget {task.target:.4f} stars, which {share:.0%} of random configs reach")
        searches: dict[str, Callable[[int], Spent]] = {
            "this search": lambda seed, task=task: ours(task, seed, plan),
            "random search": lambda seed, task=task: random_search(task, seed),
            "plain Optuna TPE": lambda seed, task=task: plain_tpe(task, seed),
        }
        spent = {name: [search(seed) for seed in range(options.seeds)] for name, search in searches.items()}
        own = [entry.epochs for entry in spent["this search"]]
        print(f"{'median (95% interval)':<24}{'epochs':>22}{'trials':>20}{'epochs / ours':>24}")
        for name, rows in spent.items():
            epochs, trials = [entry.epochs for entry in rows], [entry.trials for entry in rows]
            ratio = ratio_and_interval(epochs, own)
            print(f"{name:<24}{median_and_interval(epochs):>22}{median_and_interval(trials):>20}{ratio:>24}")


if __name__ == "__main__":
    main()
