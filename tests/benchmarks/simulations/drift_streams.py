"""Proof by simulation: alarms on clean streams, and events until a planted drift is seen.

    python -m tests.benchmarks.simulations.drift_streams --runs 20

Everything here is synthetic, and says so. A world of users with tastes rates items with genres; a
profile is made of its first events, as a release would; the stream goes on, clean or with one drift
planted at its start. Predictions are the world's own means, so their error is the noise alone; intervals
around them hold 80% of the ratings. "intervals" are those of a release that makes them too narrow.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.release.profile import Profile, build_profile
from serving.drift.detector import Detector, Observation

USERS, ITEMS, GENRES, NOISE = 600, 400, 8, 0.6
HALF = 0.8  # stars, of an interval that holds 80%
DRIFTS = ("none", "popularity", "genres", "ratings", "unknown users", "error", "intervals")


# Users, items, ratings and predictions, (count,) each.
Stream = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class DriftWorld:
    """A stationary source of rating events. ``activity`` and ``popularity`` are chances, ``genres``
    (items, genres), ``mean`` (users, items) the expected rating in stars."""

    activity: NDArray[np.float64]
    popularity: NDArray[np.float64]
    genres: NDArray[np.bool_]
    mean: NDArray[np.float64]


def drift_world(seed: int) -> DriftWorld:
    rng = np.random.default_rng([seed, 1])
    activity, popularity = rng.pareto(1.5, USERS) + 0.2, rng.pareto(1.2, ITEMS) + 0.1
    taste, trait = rng.normal(size=(USERS, 4)) * 0.4, rng.normal(size=(ITEMS, 4)) * 0.6
    return DriftWorld(
        activity / activity.sum(),
        popularity / popularity.sum(),
        rng.random((ITEMS, GENRES)) < 0.2,
        np.clip(3.5 + taste @ trait.T, 1, 5),
    )


def draw(source: DriftWorld, count: int, *, drift: str, seed: int) -> Stream:
    """(count,) users, items, ratings and predictions; users of -1 are new ones."""
    rng = np.random.default_rng([seed, 2])
    popularity = source.popularity
    if drift == "popularity":  # what few watched is now what many watch
        order = np.argsort(popularity)
        popularity = np.empty_like(popularity)
        popularity[order] = np.sort(source.popularity)[::-1]
    elif drift == "genres":
        popularity = popularity * np.where(source.genres[:, 0], 4.0, 1.0)
        popularity = popularity / popularity.sum()
    users = rng.choice(USERS, size=count, p=source.activity)
    items = rng.choice(ITEMS, size=count, p=popularity)
    predicted = source.mean[users, items]
    noise = NOISE * (1.5 if drift == "error" else 1.0)
    shift = 0.5 if drift == "ratings" else 0.0
    values = np.clip(np.round((predicted + shift + rng.normal(size=count) * noise) * 2) / 2, 1, 5)
    if drift == "unknown users":
        users = np.where(rng.random(count) < 0.3, -1, users)
    return users, items, values, predicted


def profile_of(source: DriftWorld, *, events: int, seed: int) -> Profile:
    """The profile a release would carry that was made on ``events`` events of ``source``."""
    users, items, values, predicted = draw(source, events, drift="none", seed=seed)
    ratings = Ratings(
        users=users.astype(np.int32),
        items=items.astype(np.int32),
        values=values.astype(np.float32),
        times=np.arange(events, dtype=np.int64),
        scale=RatingScale(1, 5),
        user_count=USERS,
        item_count=ITEMS,
    )
    inside = (np.abs(values - predicted) <= HALF).astype(np.float64)
    return build_profile(ratings, predicted, source.genres, inside=inside)


def first_alarm(detector: Detector, stream: Stream, *, half: float = HALF) -> tuple[int, str] | None:
    """Events until the first alarm, and its signal; None if the stream ended without one. ``half`` is that of
    the intervals (stars)."""
    for index, (user, item, value, predicted) in enumerate(zip(*stream, strict=True), start=1):
        inside = bool(abs(value - predicted) <= half)
        seen = Observation(float(index), int(user), int(item), float(value), float(predicted), inside)
        alarms = detector.observe([seen])
        if alarms:
            return index, alarms[0].name
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.drift_streams", description=__doc__
    )
    parser.add_argument("--runs", type=int, default=20, help="streams a row (default 20)")
    parser.add_argument("--events", type=int, default=20_000, help="events a stream (default 20,000)")
    parser.add_argument("--made-of", type=int, default=40_000, help="ratings of the release (default 40,000)")
    options = parser.parse_args(arguments)
    print(f"synthetic streams of {options.events:,} events, releases of {options.made_of:,} ratings")
    worlds = [drift_world(seed) for seed in range(options.runs)]
    profiles = [profile_of(world, events=options.made_of, seed=seed) for seed, world in enumerate(worlds)]
    print(f"{'planted':>14} {'seen':>6} {'median events':>14} {'most':>7}  first signal")
    for drift in DRIFTS:
        delays, names = [], []
        for seed, source in enumerate(worlds):
            detector = Detector(profiles[seed])
            stream = draw(source, options.events, drift=drift, seed=1000 + seed)
            result = first_alarm(detector, stream, half=0.6 * HALF if drift == "intervals" else HALF)
            if result is not None:
                delays.append(result[0])
                names.append(result[1])
        signals = ", ".join(sorted(set(names), key=names.count, reverse=True)) or "-"
        middle = f"{np.median(delays):,.0f}" if delays else "-"
        most = f"{max(delays):,}" if delays else "-"
        print(f"{drift:>14} {len(delays):>3}/{options.runs:<2} {middle:>14} {most:>7}  {signals}")
    for name in ("coverage", "error"):
        watched = [made.signals[name] for made in profiles if made.signals[name]["watched"]]
        within = ", ".join(f"{signal['power']['within']:,}" for signal in watched)
        false = np.mean([signal["false_alarm_rate"] for signal in watched]) if watched else float("nan")
        print(f"{name}: watched by {len(watched)}, false alarms {false:.2%}, seen within {within}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
