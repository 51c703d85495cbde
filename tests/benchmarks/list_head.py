"""The hybrid VAE's list head beside ALS and EASE, alone and added to their sum.

    python -m tests.benchmarks.list_head --data ml-100k --seeds 2

NDCG@10 of two protocols: a quarter of each person's ratings held out (``quarter``), and people whom nothing
was fitted on, found by 80% of their ratings (``strong``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.metrics.ranking import best_of, evaluate_lists, pair_matrix
from recsys.ranking.als import AlsConfig
from recsys.ranking.hybrid_vae_lists import NAME, HybridVaeListsConfig
from recsys.ranking.item_regression import EaseTrialConfig
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_holdout import hold_out
from recsys.ranking.list_validation import unseen_scores
from recsys.ranking.ranker_sum import sum_rankers
from tests.benchmarks.list_protocol import cut_lists

MOST_USERS = 3_000
CONFIGS = {
    "als": AlsConfig(factors=48, unobserved=0.3, ridge=0.015),
    "ease": EaseTrialConfig(),
    NAME: HybridVaeListsConfig(unobserved=0.3, ridge=0.015),
}
BLENDS = (("als", "ease"), ("als", "ease", NAME))


def ladder(train: Ratings, histories: Ratings, test: Ratings, *, known: bool, seed: int) -> dict[str, float]:
    """NDCG@10 of each family and blend; in a blend a member counts by its mean best score."""
    data, read = ListData(train), ListData(histories)
    users = np.unique(test.users).astype(np.int64)[:MOST_USERS]
    relevant = pair_matrix(test)[users]
    rankers = {name: LIST_FAMILIES[name].fit(data, config, seed=seed) for name, config in CONFIGS.items()}
    scores = {name: unseen_scores(one, read, users, known=known) for name, one in rankers.items()}
    shares = {name: 1 / float(own.max(axis=1).mean()) for name, own in scores.items()}
    for names in BLENDS:
        blend = sum_rankers([(rankers[name], shares[name]) for name in names], family="blend")
        scores["+".join(names)] = unseen_scores(blend, read, users, known=known)
    return {name: evaluate_lists(best_of(own, 10), relevant).ndcg for name, own in scores.items()}


def main(words: Sequence[str] | None = None) -> int:
    """Prints a line a protocol and seed."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.list_head", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--data", default="ml-100k", help="as --data of the search (default ml-100k)")
    made.add_argument("--seeds", type=int, default=2, help="seeds 0 to N - 1 (default 2)")
    made.add_argument("--users", type=int, default=200, help="people held out whole (default 200)")
    options = made.parse_args(words)
    dataset = load_dataset(options.data)
    ratings = dataset.ratings
    for seed in range(options.seeds):
        quarter = hold_out(ratings, shape="random", seed=seed, most_users=MOST_USERS)
        gone = np.isin(
            ratings.users * np.int64(ratings.item_count) + ratings.items,
            quarter.known.users * np.int64(ratings.item_count) + quarter.known.items,
            invert=True,
        )
        strong = cut_lists(dataset, f"strong:{options.users}", seed=seed)
        for name, figures in (
            (
                "quarter",
                ladder(
                    quarter.known, quarter.known, ratings.take(np.flatnonzero(gone)), known=True, seed=seed
                ),
            ),
            ("strong", ladder(strong.train, strong.histories, strong.test, known=False, seed=seed)),
        ):
            print(name, seed, "  ".join(f"{key} {value:.4f}" for key, value in figures.items()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
