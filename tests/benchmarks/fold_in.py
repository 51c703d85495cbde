"""New users without retraining: error and lists by number of ratings given, next to retraining with them.

    python -m tests.benchmarks.fold_in --data ml-100k

Some users are held out whole. Models learn from the others; a held-out user then gives 0, 1, 5 or 20
ratings and is folded in; their later ratings are what stars and lists are judged by. "Retrained" trains
everything again with those given ratings among the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.metrics.ranking import evaluate_lists, pair_matrix, rank_all
from recsys.metrics.rating import rmse
from recsys.models.base import History, Scorer
from recsys.models.registry import FAMILIES, make_config
from recsys.ranking.als import AlsConfig
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import rated_matrix, seen_matrix
from recsys.release.pack import make_histories
from recsys.types import FloatArray, IntArray, JsonObject
from tests.benchmarks.fixed_ranker import RankerConfig

GIVEN = (0, 1, 5, 20)
FEWEST = 30  # ratings a held-out user needs: 20 to give, 10 to be judged by
REPAIRED: JsonObject = {
    "factors": 32,
    "hidden": [256, 128],
    "latent": 32,
    "biases": True,
    "history": "ratings",
    "normalisation": "layer",
    "embedding_scale": 0.01,
    "learning_rate_schedule": "cosine",
}
# Name, family, what is changed of its defaults, and epochs.
MEMBERS: tuple[tuple[str, str, JsonObject, int], ...] = (
    ("bias", "bias", {}, 10),
    ("mf", "mf", {}, 20),
    ("vae", "hybrid_vae", {**REPAIRED, "dot_product": 32, "learning_rate": 1e-3}, 15),
    (
        "vae, start",
        "hybrid_vae",
        {
            **REPAIRED,
            "dot_product": 16,
            "learning_rate": 3e-4,
            "weight_decay": 1e-4,
            "start": "factorisation",
        },
        8,
    ),
    ("bayes_mf", "bayes_mf", {}, 12),
)


@dataclass(frozen=True)
class Models:
    """Everything that answers, learned from one set of ratings."""

    scorers: dict[str, Scorer]
    ranker: Ranker
    popular: NDArray[np.float32]  # (items,) ratings each has


@dataclass(frozen=True)
class HeldOut:
    """``users``' ratings in random order: what each may give, and what they are judged by."""

    users: NDArray[np.int64]
    given: Ratings
    places: NDArray[np.int64]  # (len(given),) how many ratings of the same user come before
    judged: Ratings


def hold_out(ratings: Ratings, share: float, seed: int) -> tuple[Ratings, HeldOut]:
    """The other users' ratings, and the held-out users'."""
    random = np.random.default_rng(seed)
    counts = np.bincount(ratings.users, minlength=ratings.user_count)
    able = np.flatnonzero(counts >= FEWEST)
    users = np.sort(random.permutation(able)[: int(share * ratings.user_count)])
    out = np.isin(ratings.users, users)
    rows = random.permutation(np.flatnonzero(out))
    rows = rows[np.argsort(ratings.users[rows], kind="stable")]
    owners = ratings.users[rows]
    starts = np.searchsorted(owners, owners)
    positions = np.arange(len(rows)) - starts
    giving = positions < max(GIVEN)
    held = HeldOut(users, ratings.take(rows[giving]), positions[giving], ratings.take(rows[~giving]))
    return ratings.take(np.flatnonzero(~out)), held


def learn(train: Ratings, seed: int) -> Models:
    data = TrainingData(train=train, valid=train.take(np.arange(0)))
    histories = make_histories(train)
    scorers = {}
    for name, family, fields, epochs in MEMBERS:
        config = make_config(family, fields)
        trainer = FAMILIES[family].build(config, data, epochs=epochs, seed=seed, device=torch.device("cpu"))
        for _ in range(epochs):
            trainer.train_epoch()
        scorers[name] = FAMILIES[family].scorer(trainer.export(), histories)
    ranker = RankerConfig(als=AlsConfig(), newcomers=2.0).fit(
        rated_matrix(train), seed=seed, scale=train.scale
    )
    return Models(scorers, ranker, np.bincount(train.items, minlength=train.item_count).astype(np.float32))


def stars(models: Models, held: HeldOut, state: Callable[[Scorer, int], object]) -> dict[str, FloatArray]:
    """(len(judged),) of every member and of their mean; ``state(scorer, user)`` knows the user."""
    judged = held.judged
    predicted: dict[str, FloatArray] = {
        name: np.empty(len(judged), dtype=np.float32) for name in models.scorers
    }
    for user in held.users:
        rows = np.flatnonzero(judged.users == user)
        for name, scorer in models.scorers.items():
            predicted[name][rows] = scorer.score(state(scorer, int(user)), judged.items[rows])
    predicted["mean of them"] = np.mean(list(predicted.values()), axis=0)
    return predicted


def ndcg(models: Models, held: HeldOut, given: Ratings, *, known: bool) -> float:
    """NDCG@10 of the held-out users' lists; ``known`` when the ranker was trained with them."""
    seen, history = seen_matrix(given), make_histories(given)

    def score(users: IntArray) -> FloatArray:
        if not len(given):  # nobody can be told from another: everyone gets the popular items
            return np.repeat(models.popular[None], len(users), axis=0)
        rows = [int(user) for user in users]
        return models.ranker.scores([history(row) for row in rows], users=rows if known else None)

    lists = rank_all(score, held.users, seen)
    return evaluate_lists(lists, pair_matrix(held.judged)[held.users]).ndcg


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="ml-100k", help="anything that breakthrough.py --data takes")
    parser.add_argument("--share", type=float, default=0.2, help="of the users, held out (default 0.2)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ratings = load_dataset(arguments.data).ratings
    others, held = hold_out(ratings, arguments.share, arguments.seed)
    models = learn(others, arguments.seed)
    errors = [f"rmse {name}" for name, *_ in MEMBERS]
    table = Table("given", "way", *errors, "rmse mean of them", "NDCG@10", "users")
    for count in GIVEN:
        given = held.given.take(np.flatnonzero(held.places < count))
        history = make_histories(given)

        def folded(scorer: Scorer, user: int, history: Callable[[int], History] = history) -> object:
            return scorer.fold_in(history(user))

        quality = ndcg(models, held, given, known=False)
        add_row(table, count, "folded in", stars(models, held, folded), held, quality)
        if count:
            again = learn(others.joined(given), arguments.seed)
            known = stars(again, held, lambda scorer, user: scorer.known_user(user))
            add_row(table, count, "retrained", known, held, ndcg(again, held, given, known=True))
    Console(width=120).print(table)


def add_row(
    table: Table, count: int, way: str, predicted: dict[str, FloatArray], held: HeldOut, quality: float
) -> None:
    errors = [f"{rmse(array, held.judged.values):.4f}" for array in predicted.values()]
    table.add_row(str(count), way, *errors, f"{quality:.4f}", str(len(held.users)))


if __name__ == "__main__":
    main()
