"""What a list costs, by stage, on a release of ML-32M's shape; what candidates and diversity cost in NDCG.

    python -m tests.benchmarks.recommender --data ml-100k

The first table times ``Recommender.recommend`` alone, without HTTP, on one thread (set OMP_NUM_THREADS=1).
The others fit a small release on real ratings and judge its lists on the test slice.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.data.splits import make_split, training_data
from recsys.evaluation import recommend_lists
from recsys.metrics.beyond_accuracy import diversity
from recsys.metrics.ranking import evaluate_lists, pair_matrix
from recsys.models.base import History
from recsys.ranking.list_blend import ListBlend
from recsys.release.load import load_release
from recsys.release.loaded_release import Release
from recsys.release.pack import pack_release
from recsys.release.queries import NO_RULES, Query, Rules
from recsys.release.recommender import Recommender
from tests.benchmarks.fixed_recipe import select_ranker
from tests.big_release import ITEMS, PAIRS, USERS, make_big_release
from tests.releases import fit_member

STAGES = ("retrieve", "fold_in", "score", "blend")
SHARED = ("retrieve", "fold_in", "score")  # worked out once for a whole batch
LISTS = 256


def cases(release: Release, random: np.random.Generator) -> Iterator[tuple[str, list[Query], int, Rules]]:
    """Who asks, the questions, how many at once, and the rules."""
    users = random.integers(0, len(release.users), LISTS)
    known = [Query(user=int(user)) for user in users]
    for batch in (1, 8, 32):
        yield f"known, {batch} at once", known, batch, NO_RULES
    yield "known, explained", [replace(query, explain=True) for query in known], 1, NO_RULES
    yield "known, diversity 0.3", known, 1, Rules(diversity=0.3)
    shares = release.popularity.counts.astype(np.float64)
    shares /= shares.sum()
    for size in (1, 5, 20, 100):
        drawn = [
            History(
                items=random.choice(len(shares), size, replace=False, p=shares).astype(np.int32),
                values=(random.integers(1, 11, size) / 2).astype(np.float32),
            )
            for _ in range(32)
        ]
        yield f"new, {size} ratings", [Query(None, history) for history in drawn], 1, NO_RULES
        if size == 5:
            fresh = [Query(int(user), history) for user, history in zip(users, drawn, strict=False)]
            yield "known, 5 fresh ratings", fresh, 1, NO_RULES
    yield "unknown, no ratings", [Query(None)] * 32, 1, NO_RULES


def stage_table(release: Release, seed: int) -> Table:
    recommender = Recommender(release)
    table = Table("who", "p50 ms", "p99 ms", "ms a list", *STAGES, title="milliseconds, and by stage a list")
    for name, queries, batch, rules in cases(release, np.random.default_rng(seed)):
        recommender.recommend(queries[:batch], rules)
        spent, stages = [], dict.fromkeys(STAGES, 0.0)
        for first in range(0, len(queries), batch):
            part = queries[first : first + batch]
            began = time.perf_counter()
            answers = recommender.recommend(part, rules)
            spent.append(1000 * (time.perf_counter() - began))
            for answer in answers:
                for stage, value in answer.milliseconds.items():
                    stages[stage] += value / (len(part) if stage in SHARED else 1) / len(queries)
        table.add_row(
            name,
            f"{np.median(spent):.2f}",
            f"{np.quantile(spent, 0.99):.2f}",
            f"{sum(spent) / len(queries):.2f}",
            *(f"{stages[stage]:.2f}" for stage in STAGES),
        )
    return table


def small_release(data: str, folder: Path, seed: int) -> tuple[Release, Ratings]:
    """A ranker as a search would choose it and a factorisation, and the test slice."""
    dataset = load_dataset(data)
    split = make_split(dataset, "per-user", seed=seed)
    training = training_data(dataset, split)
    selection = select_ranker(training.train, training.valid, seed=seed)
    pack_release(
        folder,
        dataset=dataset,
        split=split,
        trained_on=["train"],
        members=[fit_member("mf", training, family="mf", epochs=20)],
        method="mean",
        ranker=selection.fit(training.train.joined(training.valid), seed=seed),
        mix=ListBlend(1.0, 0.4, 100, {}),
    )
    return load_release(folder), dataset.ratings.take(split.test)


def with_candidates(release: Release, candidates: int) -> Recommender:
    ranking = release.manifest.ranking.model_copy(update={"candidates": candidates})
    return Recommender(replace(release, manifest=release.manifest.model_copy(update={"ranking": ranking})))


def quality_tables(release: Release, test: Ratings) -> list[Table]:
    users = np.unique(test.users)
    relevant = pair_matrix(test)[users]

    def row(table: Table, name: str, recommender: Recommender, rules: Rules = NO_RULES) -> None:
        began = time.perf_counter()
        lists = recommend_lists(recommender, users, rules=rules)
        spent = 1000 * (time.perf_counter() - began) / len(users)
        ndcg = evaluate_lists(lists, relevant).ndcg
        varied = diversity(lists, release.items.member_of.astype(np.float32)).value
        table.add_row(name, f"{ndcg:.4f}", f"{varied:.3f}", f"{spent:.2f}")

    columns = ("NDCG@10", "diversity", "ms a list")
    by_candidates = Table("candidates", *columns, title="stars at weight 0.4 of the ranker's")
    for count in (10, 20, 50, 100, 200, 500, len(release.items)):
        row(by_candidates, str(count), with_candidates(release, count))
    by_dial = Table("diversity dial", *columns, title="maximal marginal relevance over 100 candidates")
    for dial in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        row(by_dial, f"{dial:g}", Recommender(release), Rules(diversity=dial))
    return [by_candidates, by_dial]


def timed(say: Callable[[str], None], what: str, call: Callable[[], Release]) -> Release:
    began = time.perf_counter()
    value = call()
    say(f"{what}: {time.perf_counter() - began:.2f} s")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help="also judge candidates and diversity on these ratings, e.g. ml-100k")
    parser.add_argument("--release", type=Path, help="time this release instead of one of ML-32M's shape")
    parser.add_argument("--scale", type=float, default=1.0, help="of ML-32M's users and ratings (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.release
        if folder is None:
            users, pairs = int(USERS * arguments.scale), int(PAIRS * arguments.scale)
            folder = make_big_release(Path(scratch) / "big", users=users, pairs=pairs, seed=arguments.seed)
            console.print(f"{users:,} users, {ITEMS:,} items, {pairs:,} ratings, three hybrid VAEs, als 64")
        timed(console.print, "opened and checked", lambda: load_release(folder))
        release = timed(console.print, "opened unchecked", lambda: load_release(folder, verify=False))
        console.print(stage_table(release, arguments.seed))
        if arguments.data:
            small, test = small_release(arguments.data, Path(scratch) / "small", arguments.seed)
            for table in quality_tables(small, test):
                console.print(table)


if __name__ == "__main__":
    main()
