"""Searched lists against the fixed recipe (ALS + EASE), on the same rows, paired over people.

    python -m tests.benchmarks.lists --data ml-100k --seeds 5 --json lists.json
    python -m tests.benchmarks.lists --data ml-100k --seeds 1 --newest
    python -m tests.benchmarks.lists --data synthetic:users=20000,items=20000,ratings=2000000 --fits-only

``--newest`` tests each person's newest quarter in place of a random one. ``--fits-only`` fits each family's
first starting point on all ratings and prints seconds, milliseconds a list and the peak of memory so far.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.data.splits import make_split
from recsys.metrics.ranking import best_of, evaluate_lists, pair_matrix
from recsys.metrics.significance import mean_difference, over_seeds
from recsys.ranking.list_data import ListData
from recsys.ranking.list_ensemble import blend_lists
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_holdout import HoldoutShape, hold_out
from recsys.ranking.list_validation import ListValidation, unseen_scores
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_config import history_of
from recsys.types import JsonObject
from search.config.plan import make_plan
from search.sampling.list_search import search_lists
from tests.benchmarks.fixed_recipe import fit_ranker

TIMED_LISTS = 200
FIXED_SHARE = 0.1  # of what may be learned from, at random: the fixed recipe's valid slice


def compare(known: Ratings, test: Ratings, *, shape: HoldoutShape, seed: int) -> JsonObject:
    """One seed: figures of both, and each person's NDCG@10.

    Args:
        known: What may be learned from.
        test: Looked at once.
        shape: Of the holdout that the search chooses by.
        seed: Of both searches.
    """
    order = np.random.default_rng(seed).permutation(len(known))
    valid_count = round(FIXED_SHARE * len(known))
    valid, train = known.take(np.sort(order[:valid_count])), known.take(np.sort(order[valid_count:]))
    fixed, _ = fit_ranker(train, valid, seed=seed)
    validation = ListValidation.of(known, shape=shape, seed=seed)
    plan = make_plan({"seed": seed}, {})
    selection = blend_lists(search_lists(validation, plan), validation)
    searched = selection.fit(known, seed=seed)
    users = np.unique(test.users).astype(np.int64)
    row: JsonObject = {"seed": seed, "families": selection.family, "people": len(users)}
    for name, ranker in (("searched", searched), ("fixed", fixed)):
        row[name] = judged(ranker, known, test, users)
    row["difference"] = _paired(row["searched"]["by_user"], row["fixed"]["by_user"], users, seed)
    return row


def judged(ranker: Ranker, known: Ratings, test: Ratings, users: NDArray[np.int64]) -> JsonObject:
    """P@10, NDCG@10 and NDCG@10 by person of ``users``' lists."""
    lists = best_of(unseen_scores(ranker, ListData(known), users, known=True), 10)
    figures = evaluate_lists(lists, pair_matrix(test)[users])
    by_user = [float(value) for value in figures.ndcg_by_user]
    return {"precision_at_10": figures.precision, "ndcg_at_10": figures.ndcg, "by_user": by_user}


def fits(ratings: Ratings) -> list[JsonObject]:
    """Each family's first starting point on all of ``ratings``: seconds, milliseconds a list, peak memory."""
    data, rows = ListData(ratings), []
    people = np.unique(ratings.users)[:TIMED_LISTS]
    for family in LIST_FAMILIES.values():
        began = time.perf_counter()
        ranker = family.fit(data, family.usable(family.starts[0], data), seed=0)
        seconds = time.perf_counter() - began
        histories = [history_of(data.rated, int(user), ratings.scale) for user in people]
        began = time.perf_counter()
        for history in histories:
            best_of(ranker.scores([history]), 10)
        a_list = 1000 * (time.perf_counter() - began) / len(histories)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rows.append(
            {"family": family.name, "seconds": seconds, "milliseconds_a_list": a_list, "peak_gb": peak}
        )
        print(f"{family.name:16} {seconds:7.1f} s {a_list:7.2f} ms a list, peak {peak:.2f} GB", flush=True)
    return rows


def _paired(
    first: Sequence[float], second: Sequence[float], units: NDArray[np.int64], seed: int
) -> JsonObject:
    found = mean_difference(np.array(first), np.array(second), seed=seed, clusters=units)
    return {"ndcg_at_10": found.value, "low": found.low, "high": found.high}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.lists", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--data", default="ml-100k", help="as --data of the search (default ml-100k)")
    made.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1 (default 5)")
    made.add_argument("--newest", action="store_true", help="test each person's newest quarter")
    made.add_argument("--fits-only", action="store_true", help="time and memory of each family's fit")
    made.add_argument("--json", type=Path, help="write the table to this file, too")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Prints a row a seed as it is measured, then the means and the paired interval."""
    options = parser().parse_args(words)
    dataset = load_dataset(options.data)
    ratings, rows = dataset.ratings, []
    if options.fits_only:
        rows = fits(ratings)
    else:
        for seed in range(options.seeds):
            if options.newest:
                holdout = hold_out(ratings, shape="newest", seed=seed, most_users=ratings.user_count)
                known, matrix = holdout.known, holdout.relevant.tocoo()
                held = set(zip(holdout.users[matrix.row].tolist(), matrix.col.tolist(), strict=True))
                pairs = zip(ratings.users.tolist(), ratings.items.tolist(), strict=True)
                test = ratings.take(np.array([row for row, pair in enumerate(pairs) if pair in held]))
            else:
                split = make_split(dataset, "per-user", seed=seed)
                known = ratings.take(np.sort(np.concatenate([split.train, split.valid])))
                test = ratings.take(split.test)
            row = compare(known, test, shape="newest" if options.newest else "random", seed=seed)
            rows.append(row)
            print(_line(f"seed {seed}", row, row["difference"]), row["families"], flush=True)
        rows.append(_summary(rows))
        print(_line("mean", rows[-1], rows[-1]["difference"]))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


def _summary(rows: Sequence[JsonObject]) -> JsonObject:
    """Means over seeds; the difference is paired over people, a person's seeds resampled together."""
    names = ("precision_at_10", "ndcg_at_10")
    made: JsonObject = {
        kind: {name: over_seeds([row[kind][name] for row in rows]).value for name in names}
        for kind in ("searched", "fixed")
    }
    by_user = [np.concatenate([row[kind]["by_user"] for row in rows]) for kind in ("searched", "fixed")]
    people = np.concatenate([np.arange(row["people"]) for row in rows])
    return made | {"difference": _paired(by_user[0].tolist(), by_user[1].tolist(), people, 0)}


def _line(name: str, row: JsonObject, difference: JsonObject) -> str:
    figures = (
        f"{kind} {row[kind]['precision_at_10']:.4f} / {row[kind]['ndcg_at_10']:.4f}"
        for kind in ("searched", "fixed")
    )
    apart = f"{difference['ndcg_at_10']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"
    return f"{name}: {', '.join(figures)}, NDCG@10 {apart}"


if __name__ == "__main__":
    raise SystemExit(main())
