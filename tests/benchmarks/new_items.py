"""Items that nobody has rated: a tenth of the items hidden from training whole, and found by their features.

    python -m tests.benchmarks.new_items --data ml-100k --seeds 5 --json new.json

Each person who rated hidden items gets a list of ten of the hidden items alone, by each of
    mapped    the blend (ALS + EASE) with what it says of the hidden items mapped from features;
    profile   cosine of the item's features with the mean of the person's rated items' (no popularity);
    random    any order.
Printed are recall@10 (of at most ten) and NDCG@10 over people, means over seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.metrics.ranking import best_of, pair_matrix
from recsys.metrics.ranking import evaluate_lists as judged
from recsys.ranking.als import AlsConfig
from recsys.ranking.item_regression import EaseTrialConfig
from recsys.ranking.list_data import ListData
from recsys.ranking.list_selection import ListMember, ListSelection
from recsys.ranking.new_items import fit_feature_map, with_new_items
from recsys.ranking.rating_matrix import history_of
from recsys.ranking.taste_vectors import item_vectors, unit_rows
from recsys.types import JsonObject

HIDDEN = 0.1  # of the items
WAYS = ("mapped", "profile", "random")
BLEND = (
    ListMember("als", AlsConfig(factors=64, unobserved=0.3, ridge=0.01), 1.0),
    ListMember("ease", EaseTrialConfig(), 1.0),
)


def hide(dataset: Dataset, *, seed: int, features: NDArray[np.float32]) -> JsonObject:
    """One draw of hidden items: recall@10 and NDCG@10 of each way to rank them."""
    ratings = dataset.ratings
    random = np.random.default_rng(seed)
    hidden = np.zeros(ratings.item_count, dtype=np.bool_)
    hidden[random.permutation(ratings.item_count)[: round(HIDDEN * ratings.item_count)]] = True
    known, unseen = (ratings.take(np.flatnonzero(hidden[ratings.items] == side)) for side in (False, True))
    data = ListData(known)
    counts = np.bincount(known.items, minlength=ratings.item_count)
    vectors = item_vectors(data.seen)
    ranker = with_new_items(
        ListSelection(BLEND).fit(known, seed=seed), features=features, counts=counts, vectors=vectors
    )
    people = np.intersect1d(unseen.users, known.users).astype(np.int64)
    rows = np.flatnonzero(hidden)
    relevant = pair_matrix(unseen)[people][:, rows]
    histories = [history_of(data.rated, int(user), ratings.scale) for user in people]
    unit = unit_rows(features)
    scores = {
        "mapped": np.concatenate([ranker.scores([entry])[:, rows] for entry in histories]),
        "profile": np.stack([unit[entry.items].mean(axis=0) @ unit[rows].T for entry in histories]),
        "random": random.random((len(people), len(rows))).astype(np.float32),
    }
    row: JsonObject = {
        "seed": seed,
        "hidden": len(rows),
        "people": len(people),
        "explained": fit_feature_map(features, counts, vectors).explained,
    }
    for name, own in scores.items():
        figures = judged(best_of(np.asarray(own, dtype=np.float32), 10), relevant)
        row[name] = {metric: figures.figures()[metric] for metric in ("recall_at_10", "ndcg_at_10")}
    return row


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.new_items", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--data", default="ml-100k", help="as --data of the search (default ml-100k)")
    made.add_argument("--items", type=Path, help="as --items of the search")
    made.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1 (default 5)")
    made.add_argument("--json", type=Path, help="write the table to this file, too")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Prints a row a seed, then the means."""
    options = parser().parse_args(words)
    dataset = load_dataset(options.data, items=options.items)
    features = dataset.item_features
    if features is None:
        print(f"{options.data} has no item features: name a table with --items")
        return 2
    rows = [hide(dataset, seed=seed, features=features) for seed in range(options.seeds)]
    mean = {}
    for row in rows:
        print(f"seed {row['seed']}: {row['hidden']} hidden, {row['people']} people")
    for name in WAYS:
        mean[name] = {key: float(np.mean([row[name][key] for row in rows])) for key in rows[0][name]}
        print(f"{name:8} recall@10 {mean[name]['recall_at_10']:.4f}  NDCG@10 {mean[name]['ndcg_at_10']:.4f}")
    if options.json:
        options.json.write_text(json.dumps({"data": options.data, "seeds": rows, "mean": mean}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
