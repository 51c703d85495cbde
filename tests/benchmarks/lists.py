"""Searched lists against the fixed recipe (ALS + EASE), on the same rows, paired over people.

    python -m tests.benchmarks.lists --data ml-100k --seeds 5 --json lists.json
    python -m tests.benchmarks.lists --data ml-100k --seeds 1 --protocol newest --at 10,5,20,100
    python -m tests.benchmarks.lists --data ml-1m --protocol strong:1000 --at-least 4 --at 100,10,20 --seeds 1
    python -m tests.benchmarks.lists --data synthetic:users=20000,items=20000,ratings=2000000 --fits-only

``--protocol`` as tests/benchmarks/list_protocol.py has them. ``--fits-only`` fits each family's
first starting point on all ratings and prints seconds, milliseconds a list and the peak of memory so far.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.evaluation import list_intervals
from recsys.metrics.ranking import best_of, evaluate_lists, pair_matrix
from recsys.metrics.significance import mean_difference, mean_over_people, values_of
from recsys.ranking.list_data import ListData
from recsys.ranking.list_ensemble import blend_lists
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_selection import ListMember, ListSelection
from recsys.ranking.list_validation import ListValidation, unseen_scores
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of
from recsys.types import FloatArray, JsonObject
from search.config.plan import SearchPlan, make_plan
from search.sampling.list_search import search_lists
from tests.benchmarks.fixed_recipe import fit_ranker
from tests.benchmarks.list_protocol import ListCut, cut_lists

TIMED_LISTS = 200
METRICS = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")
BEYOND = ("coverage", "novelty", "popular_share")
FIXED_SHARE = 0.1  # of what may be learned from, at random: the fixed recipe's valid slice


def compare(
    cut: ListCut,
    *,
    seed: int,
    at: Sequence[int],
    plan: SearchPlan,
    item_features: FloatArray | None = None,
) -> JsonObject:
    """One seed: figures of both and of each family's best trial at each k, and NDCG by person.

    Args:
        cut: What is known and what is to be found; the latter is looked at once.
        seed: Of both searches.
        at: Lengths of a list.
        plan: Of the search.
        item_features: (items, columns) that the search may use, or None.
    """
    validation = ListValidation.of(cut.train, shape=cut.shape, seed=seed, item_features=item_features)
    trials = search_lists(validation, plan)
    selection = blend_lists(trials, validation)
    order = np.random.default_rng(seed).permutation(len(cut.train))
    valid_count = round(FIXED_SHARE * len(cut.train))
    valid, train = (cut.train.take(np.sort(rows)) for rows in np.split(order, [valid_count]))
    rankers = {
        "searched": selection.fit(cut.train, seed=seed),
        "fixed": fit_ranker(train, valid, seed=seed)[0],
    }
    row: JsonObject = {
        "seed": seed,
        "fingerprint": cut.fingerprint,
        "families": selection.family,
        "people": len(cut.users),
        "k": at[0],
    }
    for name, ranker in rankers.items():
        row[name] = judged(ranker, cut, at)
    row["difference"] = _paired(row["searched"]["by_user"], row["fixed"]["by_user"], cut.users, seed)
    row["alone"] = {}
    for trial in sorted(trials, key=lambda entry: entry.figures.ndcg):  # the last of a family is its best
        row["alone"][trial.family] = trial
    for name, trial in row["alone"].items():
        member = ListSelection((ListMember(name, trial.config, 1.0),), item_features)
        row["alone"][name] = judged(member.fit(cut.train, seed=seed), cut, at) | {"valid": trial.figures.ndcg}
    return row


def judged(ranker: Ranker, cut: ListCut, at: Sequence[int]) -> JsonObject:
    """Every list metric at each k, and NDCG at the first k by person."""
    scores = unseen_scores(ranker, ListData(cut.histories), cut.users, users_fitted=not cut.fold_in)
    lists = best_of(scores, max(at))
    counts = np.bincount(cut.train.items, minlength=cut.train.item_count)
    figures: JsonObject = dict(values_of(list_intervals(lists, cut.users, cut.test, counts=counts, at=at)))
    by_user = evaluate_lists(lists[:, : at[0]], pair_matrix(cut.test)[cut.users]).by_user["ndcg"]
    mean = mean_over_people(by_user)
    return {
        **figures,
        "ndcg_interval": [mean.low, mean.high],
        "by_user": [float(value) for value in by_user],
    }


def fits(ratings: Ratings, names: Sequence[str]) -> list[JsonObject]:
    """Each family's first starting point on all of ``ratings``: seconds on the clock and of the CPU (what
    counts on a shared machine), milliseconds a list of the CPU, peak memory."""
    data, rows = ListData(ratings), []
    people = np.unique(ratings.users)[:TIMED_LISTS]
    for family in (LIST_FAMILIES[name] for name in names):
        began, used = time.perf_counter(), time.process_time()
        ranker = family.fit(data, family.usable(family.starts[0], data), seed=0)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        histories = [history_of(data.rated, int(user), ratings.scale) for user in people]
        used = time.process_time()
        for history in histories:
            best_of(ranker.scores([history]), 10)
        a_list = 1000 * (time.process_time() - used) / len(histories)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rows.append(
            {
                "family": family.name,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "milliseconds_a_list": a_list,
                "peak_gb": peak,
            }
        )
        print(
            f"{family.name:16} {seconds:7.1f} s, {cpu:6.1f} of the CPU, {a_list:7.2f} ms a list, "
            f"peak {peak:.2f} GB",
            flush=True,
        )
    return rows


def _paired(
    first: Sequence[float], second: Sequence[float], units: NDArray[np.int64], seed: int
) -> JsonObject:
    result = mean_difference(np.array(first), np.array(second), seed=seed, clusters=units)
    return {"ndcg": result.value, "low": result.low, "high": result.high}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.lists", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--data", default="ml-100k", help="as --data of the search (default ml-100k)")
    made.add_argument("--seeds", type=int, default=5, help="so many seeds (default 5)")
    made.add_argument("--first-seed", type=int, default=0, help="the first of them (default 0)")
    made.add_argument(
        "--protocol",
        default="per-user",
        help="per-user, newest, leave-last, temporal, random, folds:u1 .. or strong:USERS (default per-user)",
    )
    made.add_argument("--at", default="10", help="lengths of a list, e.g. 10,5,20,100; the first is compared")
    made.add_argument("--at-least", type=float, help="only ratings of so many stars count, as likes")
    made.add_argument("--people", type=int, help="a sample of so many people's ratings")
    made.add_argument("--list-trials", type=int, default=24, help="trials of the search (default 24)")
    made.add_argument("--families", default=",".join(LIST_FAMILIES), help="of --fits-only (default all)")
    made.add_argument("--fits-only", action="store_true", help="time and memory of each family's fit")
    made.add_argument("--json", type=Path, help="write the table to this file, too")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Prints a row a seed as it is measured, then the means and the paired interval."""
    options = parser().parse_args(words)
    dataset = part_of(load_dataset(options.data), options.at_least, options.people)
    at = [int(word) for word in options.at.split(",")]
    rows: list[JsonObject] = []
    if options.fits_only:
        rows = fits(dataset.ratings, options.families.split(","))
    else:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            plan = make_plan({"seed": seed, "list_trials": options.list_trials}, {})
            cut = cut_lists(dataset, options.protocol, seed=seed)
            row = compare(cut, seed=seed, at=at, plan=plan, item_features=dataset.item_features)
            rows.append(row)
            print(_line(f"seed {seed}", row, row["difference"]), row["families"], flush=True)
        rows.append(_summary(rows))
        print(_line("mean", rows[-1], rows[-1]["difference"]))
        for name in METRICS:
            figures = (f"{k}: {rows[-1]['searched'][f'{name}_at_{k}']:.4f}" for k in at)
            print(f"searched, {name:9} at {', '.join(figures)}")
        for name in (*BEYOND, "popular_share_of_ratings"):
            print(f"searched, {name} {rows[-1]['searched'][name]:.4f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


def part_of(dataset: Dataset, at_least: float | None, people: int | None) -> Dataset:
    """Ratings of ``at_least`` stars, of a sample of ``people``."""
    ratings = dataset.ratings
    keep = np.ones(len(ratings), dtype=np.bool_)
    if at_least is not None:
        keep &= ratings.values >= at_least
    if people is not None:
        chosen = np.random.default_rng(0).permutation(ratings.user_count)[:people]
        keep &= np.isin(ratings.users, chosen)
    return dataset if keep.all() else replace(dataset, ratings=ratings.take(np.flatnonzero(keep)))


def _summary(rows: Sequence[JsonObject]) -> JsonObject:
    """Means over seeds; the difference is paired over people, a person's seeds resampled together."""
    names = [name for name in rows[0]["searched"] if name not in ("by_user", "ndcg_interval")]
    made: JsonObject = {"k": rows[0]["k"]}
    for kind in ("searched", "fixed"):
        made[kind] = {name: float(np.mean([row[kind][name] for row in rows])) for name in names}
    by_user = [np.concatenate([row[kind]["by_user"] for row in rows]) for kind in ("searched", "fixed")]
    people = np.concatenate([np.arange(row["people"]) for row in rows])
    return made | {"difference": _paired(by_user[0].tolist(), by_user[1].tolist(), people, 0)}


def _line(name: str, row: JsonObject, difference: JsonObject) -> str:
    k = row["k"]
    figures = (
        f"{kind} {row[kind][f'precision_at_{k}']:.4f} / {row[kind][f'ndcg_at_{k}']:.4f}"
        for kind in ("searched", "fixed")
    )
    apart = f"{difference['ndcg']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"
    return f"{name}: P@{k} / NDCG@{k} {', '.join(figures)}, NDCG@{k} {apart}"


if __name__ == "__main__":
    raise SystemExit(main())
