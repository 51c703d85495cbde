"""Drift on ratings that people really gave: a profile of the older half, the newer half as the stream.

    python -m tests.benchmarks.simulations.drift_on_data --data FOLDER_OR_NAME
    python -m tests.benchmarks.simulations.drift_on_data --data FOLDER_OR_NAME --split random

With ``--split random`` each stream is a random tenth that the release did not learn from, in the order of
its times: its clean row is truly clean, and each of the planted changes is one that must be seen.

The stream is cut into slices, each met by a fresh detector. Nothing was planted in the "clean" row, but
that does not make it undrifted: MovieLens gains new users all the time, and who arrives together rates in
the same days. The other rows plant a drift into the same slices. Predictions are damped user and item
means of the older ratings, so their error is a real one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.errors import InputError
from recsys.release.profile import Profile, build_profile
from recsys.types import FloatArray
from serving.drift.detector import Detector, Observation
from tests.benchmarks.simulations.drift_streams import Stream, first_alarm

PLANTED = (
    "nothing",
    "ratings -1",
    "predictions shuffled",
    "60% unknown users",
    "popularity reversed",
    "ratings +0.5",
    "half the items",
    "error x 1.5",
)
DAMPING = 5.0


def means(ratings: Ratings) -> NDArray[np.float64]:
    """(users, items) would be large: returns the overall mean, (users,) and (items,) offsets, in a row."""
    centre = float(ratings.values.mean())
    items = _offsets(ratings.items, ratings.values - centre, ratings.item_count)
    users = _offsets(ratings.users, ratings.values - centre - items[ratings.items], ratings.user_count)
    return np.concatenate([[centre], users, items])


def _offsets(rows: NDArray[np.int32], residual: FloatArray, count: int) -> NDArray[np.float64]:
    sums = np.bincount(rows, residual, minlength=count)
    return np.asarray(sums / (np.bincount(rows, minlength=count) + DAMPING), dtype=np.float64)


def predict(table: NDArray[np.float64], ratings: Ratings) -> NDArray[np.float64]:
    """(n,) stars, inside the scale."""
    users = 1 + ratings.users
    items = 1 + ratings.user_count + ratings.items
    stars: NDArray[np.float64] = table[0] + table[users] + table[items]
    return stars.clip(ratings.scale.low, ratings.scale.high)


def profile_of(older: Ratings, dataset: Dataset) -> Profile:
    """As a release would carry: the last fifth of ``older`` is predicted by the rest of it."""
    cut = int(0.8 * len(older))
    first, last = older.take(np.arange(cut)), older.take(np.arange(cut, len(older)))
    predicted = np.full(len(older), np.nan)
    predicted[cut:] = predict(means(first), last)
    return build_profile(older, predicted, dataset.catalogue.genre_matrix())


def stream_of(newer: Ratings, older: Ratings, predicted: NDArray[np.float64], planted: str) -> Stream:
    """``newer`` as events: users and items that ``older`` does not have are -1."""
    random = np.random.default_rng(0)
    knows_user, knows_item = np.zeros(older.user_count, bool), np.zeros(older.item_count, bool)
    knows_user[older.users], knows_item[older.items] = True, True
    users = np.where(knows_user[newer.users], newer.users, -1).astype(np.int64)
    items = np.where(knows_item[newer.items], newer.items, -1).astype(np.int64)
    values = newer.values.astype(np.float64)
    if planted == "ratings +0.5":
        values = np.clip(values + 0.5, newer.scale.low, newer.scale.high)
    elif planted == "ratings -1":
        values = np.clip(values - 1, newer.scale.low, newer.scale.high)
    elif planted == "predictions shuffled":
        predicted = random.permutation(predicted)
    elif planted == "60% unknown users":
        users = np.where((random.random(older.user_count) < 0.6)[users], -1, users)
    elif planted == "popularity reversed":
        rank = np.argsort(np.bincount(older.items, minlength=older.item_count), kind="stable")
        mirror = np.empty_like(rank)
        mirror[rank] = rank[::-1]
        items = np.where(items >= 0, mirror[items], -1)
    elif planted == "half the items":
        items = np.where(items >= 0, items // 2 * 2 % older.item_count, -1)
        popular = np.argsort(-np.bincount(older.items, minlength=older.item_count))
        items = np.where(items >= 0, popular[len(popular) // 4 + items % (len(popular) // 2)], -1)
    elif planted == "error x 1.5":
        values = np.clip(predicted + 1.5 * (values - predicted), newer.scale.low, newer.scale.high)
    return users, items, values, predicted


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.drift_on_data", description=__doc__
    )
    parser.add_argument("--data", required=True, help="a data set with times, as for the search's --data")
    parser.add_argument("--slices", type=int, default=10, help="streams (default 10)")
    parser.add_argument("--split", choices=("newer", "random"), default="newer", help="default newer")
    options = parser.parse_args(arguments)
    dataset = load_dataset(options.data)
    ratings = dataset.ratings
    if ratings.times is None:
        raise InputError(f"{options.data} has no times: there is no older and newer half")
    streams = _random_tenths if options.split == "random" else _newer_half
    runs = list(streams(dataset, options.slices))
    print(
        f"{dataset.name}: {len(runs)} streams of {len(runs[0][1]):,} ratings, split {options.split}; "
        "plants are made up, the ratings are real"
    )
    print(f"{'planted':>20} {'alarmed':>8} {'median events':>14} {'most':>7}  signals (streams)")
    for planted in PLANTED:
        delays, names = [], Counter[str]()
        for profile, part, older, predicted in runs:
            stream = stream_of(part, older, predicted, planted)
            result = first_alarm(Detector(profile), stream)
            delays += [result[0]] if result else []
            names.update(alarms(profile, stream))
        middle = f"{np.median(delays):,.0f}" if delays else "-"
        most = f"{max(delays):,}" if delays else "-"
        said = ", ".join(f"{name} {count}" for name, count in names.most_common()) or "-"
        print(f"{planted:>20} {len(delays):>5}/{len(runs):<2} {middle:>14} {most:>7}  {said}", flush=True)
    return 0


Run = tuple[Profile, Ratings, Ratings, NDArray[np.float64]]


def _newer_half(dataset: Dataset, count: int) -> Iterator[Run]:
    """``count`` slices of the newer half, each with the profile of the older half."""
    ratings = dataset.ratings
    order = np.argsort(ratings.times, kind="stable")  # type: ignore[arg-type]
    half = len(order) // 2
    older = ratings.take(order[:half])
    profile, table = profile_of(older, dataset), means(older)
    for rows in np.array_split(order[half:], count):
        part = ratings.take(rows)
        yield profile, part, older, predict(table, part)


def _random_tenths(dataset: Dataset, count: int) -> Iterator[Run]:
    """``count`` times: a random tenth in the order of its times, and the profile of the rest."""
    ratings = dataset.ratings
    for seed in range(count):
        rows = np.random.default_rng(seed).permutation(len(ratings))
        cut = len(rows) // 10
        older, part = ratings.take(rows[cut:]), ratings.take(rows[:cut])
        part = part.take(np.argsort(part.times, kind="stable"))  # type: ignore[arg-type]
        yield profile_of(older, dataset), part, older, predict(means(older), part)


def alarms(profile: Profile, stream: Stream) -> set[str]:
    """The signals that alarm anywhere in ``stream``."""
    detector = Detector(profile)
    observed = (
        Observation(float(index), int(user), int(item), float(value), float(predicted))
        for index, (user, item, value, predicted) in enumerate(zip(*stream, strict=True))
    )
    return {alarm.name for alarm in detector.observe(observed)}


if __name__ == "__main__":
    raise SystemExit(main())
