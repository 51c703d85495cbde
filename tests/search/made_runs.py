"""A finished run, made up but consistent: what the report, the tracker and results.json are tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Catalogue, Dataset, Quality
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import Split
from recsys.training.trial_types import EventKind, RunEvent, TrialResult, TrialStatus
from search.results import write_results
from search.results.build import add_events, start_results
from search.results.metrics import EnsembleResult, Member, Metrics, ModelResult, RecommenderResult
from search.results.model_comparisons import compare_models
from search.results.run_info import BudgetSummary, SampleItem, SampleList
from search.results.schema import Results
from search.tracking.promotion import GateAnswers, gate_answers
from tests.search.made_trials import START, make_trial


def make_dataset(users: int = 240, items: int = 180, *, seed: int = 0) -> Dataset:
    """Ratings of 1 to 5 whole stars; few users rate much, few items are rated much."""
    random = np.random.default_rng(seed)
    wanted = np.minimum((random.pareto(1.2, users) * 12 + 8).astype(int), items - 20)
    taste, quality = random.normal(0, 0.4, users), random.normal(0, 0.5, items)
    weights = 1 / (np.arange(items) + 5)
    weights /= weights.sum()
    rows = np.repeat(np.arange(users), wanted)
    columns = np.concatenate([random.choice(items, count, replace=False, p=weights) for count in wanted])
    values = np.clip(np.round(3.5 + taste[rows] + quality[columns] + random.normal(0, 0.9, len(rows))), 1, 5)
    ratings = Ratings(
        users=rows.astype(np.int32),
        items=columns.astype(np.int32),
        values=values.astype(np.float32),
        times=(START - random.integers(0, 10**7, len(rows))).astype(np.int64),
        scale=RatingScale(1.0, 5.0),
        user_count=users,
        item_count=items,
    )
    catalogue = Catalogue(
        ids=np.array([str(item + 1) for item in range(items)]),
        titles=tuple(f"Film number {item + 1} ({1950 + item % 60})" for item in range(items)),
        genres=tuple((("Drama", "Comedy", "Sci-Fi")[item % 3],) for item in range(items)),
    )
    return Dataset(
        name="made-up",
        ratings=ratings,
        user_ids=np.array([str(user + 1) for user in range(users)]),
        catalogue=catalogue,
        sha256="ab" * 32,
        licence="made by a test",
        quality=Quality(
            rows=len(rows) + 5,
            unparsable=2,
            duplicate_pairs=3,
            users_with_few=4,
            items_with_few=61,
            examples=("line 17: 'x' is no rating",),
        ),
    )


def make_split(dataset: Dataset, *, protocol: str = "random", seed: int = 0) -> Split:
    """70/10/5/10/5."""
    rows = np.random.default_rng(seed).permutation(len(dataset.ratings))
    train, valid, gate, test, future = np.split(
        rows, (np.array([0.7, 0.8, 0.85, 0.95]) * len(rows)).astype(int)
    )
    return Split(protocol, seed, train, valid, gate, test, future, fingerprint="cd" * 32)


@dataclass(frozen=True)
class MadeRun:
    """A run and its results; ``test_stars`` by model key, ``gate`` as promotion compares it."""

    folder: Path
    dataset: Dataset
    split: Split
    trials: tuple[TrialResult, ...]
    events: tuple[RunEvent, ...]
    results: Results
    test_stars: dict[str, NDArray[np.float32]]
    gate: GateAnswers

    @property
    def name(self) -> str:
        return self.folder.name

    def having(self, **changes: object) -> MadeRun:
        """The same run with other values in its results."""
        return replace(self, results=self.results.model_copy(update=changes))

    def without_models(self, **changes: object) -> MadeRun:
        """The run as if nothing had been judged."""
        nothing: dict[str, object] = dict.fromkeys(
            ("formula", "formula_recalibrated", "template", "best", "ensemble", "recommender")
        )
        emptied: dict[str, object] = {"baselines": {}, "comparisons": [], "intervals": [], "errors": []}
        return self.having(**nothing, **emptied, samples=[], **changes)

    def write(self) -> Path:
        return write_results(self.folder, self.results, self.trials)


def make_run(folder: Path, *, trials: int = 24, seed: int = 0, protocol: str = "random") -> MadeRun:
    """A finished run; the models' predictions are the truth and noise of known size."""
    dataset = make_dataset(seed=seed)
    split = make_split(dataset, protocol=protocol)
    ended = tuple(make_trial(number, seed=seed) for number in range(trials))
    whole = [trial for trial in ended if trial.status is TrialStatus.FINISHED and trial.rmse is not None]
    best = min(whole, key=lambda trial: trial.rmse or 9.0)
    random = np.random.default_rng(seed)
    truth = dataset.ratings.values[split.test]
    shared = random.normal(0, 0.8, len(truth))
    stars: dict[str, NDArray[np.float32]] = {}

    def model(
        key: str, name: str, noise: float, trial: TrialResult | None, kl: float = 0.0, **fields: str
    ) -> ModelResult:
        stars[key] = np.clip(truth + shared + random.normal(0, noise, len(truth)), 1, 5).astype(np.float32)
        mse = float(np.mean((stars[key] - truth) ** 2))
        test = {
            "loss": mse + 0.01 * kl,
            "rmse": mse**0.5,
            "mae": float(np.mean(abs(stars[key] - truth))),
            "kl": kl,
            "precision_at_10": 0.08,
            "ndcg_at_10": 0.1,
        }
        valid = {**test, "loss": test["loss"] + 0.01, "rmse": (mse + 0.01) ** 0.5}
        return ModelResult(
            name=name,
            family=trial.spec.family if trial else fields.get("family", ""),
            trial=trial.spec.number if trial else None,
            config=trial.spec.config if trial else {},
            epochs=trial.best_epoch if trial else None,
            parameters=trial.parameters if trial else None,
            valid=Metrics.of(valid),
            test=Metrics.of(test),
            note=fields.get("note", ""),
        )

    events = (
        RunEvent(EventKind.STARTED, START, message="24 trials on made-up"),
        *(event for trial in ended for event in trial.events),
        RunEvent(EventKind.NEW_BEST, START + 60, best.spec.number, value=best.rmse, message="rmse fell"),
        RunEvent(EventKind.FINISHED, START + 200, message="done"),
    )
    members = sorted(whole, key=lambda trial: trial.rmse or 9.0)[:3]
    results = start_results(
        name=folder.name,
        command=("python", "search/breakthrough.py", "--data", "made-up"),
        started=START,
        plan={"name": "quick", "trials": trials, "epochs": 20, "seed": seed},
        dataset=dataset,
        split=split,
        trials=ended,
    )
    add_events(results, events)
    results.formula = model("formula", "formula", 0.75, ended[0], kl=0.2)
    results.formula_recalibrated = model(
        "formula_recalibrated", "formula, recalibrated", 0.6, ended[0], kl=0.2
    )
    results.template = model("template", "optimised", 0.55, ended[1], kl=0.1, note="optimised, scaled")
    results.baselines = {
        "bias": model("bias", "bias", 0.5, None, family="bias"),
        "biased_mf": model("biased_mf", "biased_mf", 0.45, None, family="biased_mf"),
    }
    results.best = model("best", best.spec.name, 0.4, best, kl=0.08)
    results.ensemble = EnsembleResult(
        **dict(model("ensemble", "ensemble", 0.32, None, kl=0.07)),
        members=[
            Member(trial=trial.spec.number, name=trial.spec.name, family=trial.spec.family, weight=weight)
            for trial, weight in zip(members, (0.5, 0.3, 0.2), strict=False)
        ],
        method="non-negative least squares",
    )
    lists = {
        "precision_at_10": 0.421,
        "ndcg_at_10": 0.485,
        "coverage": 0.31,
        "novelty": 2.1,
        "diversity": 0.6,
    }
    results.recommender = RecommenderResult(
        name="recommender",
        family="ease",
        ranker="ease",
        weights={"ease": 0.8, "rating": 0.2},
        candidates=300,
        test=lists,
    )
    compare_models(results, dataset.ratings.take(split.test), stars, train=dataset.ratings.take(split.train))
    results.tuning = {"hybrid_vae": trials, "biased_mf": trials, "bias": trials}
    results.budget = BudgetSummary(
        usd=0.35,
        cap_usd=20.0,
        hours=0.07,
        cap_hours=1.0,
        price_per_hour_usd=5.0,
        nodes=1,
        computed="$5.00 an hour x 1 node x 1 hour",
        usd_per_trial=0.35 / trials,
    )
    results.seconds = {"total": 252.0, "data": 3.1, "search": 220.0, "ensemble": 11.0, "report": 2.0}
    results.versions = {"python": "3.11.9", "torch": "2.9.0", "ray": "2.60.0", "optuna": "5.0.0"}
    results.samples = [
        SampleList(
            user=str(user),
            rated=[SampleItem(title=f"Film number {user + index} (1994)") for index in range(5)],
            recommended=[
                SampleItem(title=f"Film number {60 + user + index} (1981)", stars=4.6 - index / 10)
                for index in range(10)
            ],
        )
        for user in (3, 17, 42)
    ]
    results.cluster = {"name": "local", "nodes": 1, "cpus": 2, "gpus": 0}
    noise = random.normal(0, 0.8, len(split.gate))
    gate = np.clip(dataset.ratings.values[split.gate] + noise, 1, 5).astype(np.float32)
    return MadeRun(folder, dataset, split, ended, events, results, stars, gate_answers(dataset, split, gate))
