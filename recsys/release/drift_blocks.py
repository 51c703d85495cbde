"""A release's own ratings as blocks of whole users: what ``drift_thresholds`` resamples.

A live event meets counts that it is no part of. So each event is left out of its own user's and item's
count (Good-Turing): an event on an item rated once stands for one on an unknown item.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.release.drift_signals import MAGNITUDES, Events, bins_left_out, histograms, magnitude_bins
from recsys.release.drift_thresholds import BlockCounts
from recsys.types import BoolArray, FloatArray, IntArray

# So many users, drawn at random, stand for all of them when thresholds are worked out.
MOST_USERS = 20_000
BLOCK_RATINGS = 50
ARRIVALS = ("unknown_users", "unknown_items")
JUDGED = ("predictions", "error", "coverage")  # signals of the ratings that have a prediction
LOST = 1 / 3  # of the ratings inside their interval, after the change that "coverage" is there to see


def blocks_of(
    ratings: Ratings,
    predicted: FloatArray,
    genres: BoolArray,
    random: np.random.Generator,
    inside: FloatArray | None = None,
) -> BlockCounts:
    """Counts of every signal by block, as they were and after the changes that are to be seen."""
    user_counts = np.bincount(ratings.users, minlength=ratings.user_count)
    item_counts = np.bincount(ratings.items, minlength=ratings.item_count)
    scale = (ratings.scale.low, ratings.scale.high)
    rows, users = _drawn_users(ratings.users, user_counts, random)
    blocks, owners = _cut_into_blocks(users)
    events = Events(
        ratings.users[rows],
        ratings.items[rows],
        ratings.values[rows],
        predicted[rows],
        None if inside is None else inside[rows],
    )
    bins = {
        "user_bins": bins_left_out(user_counts[events.users]),
        "item_bins": bins_left_out(item_counts[events.items]),
    }
    usual = histograms(events, blocks, **bins, genres=genres, scale=scale)
    changed = _changed(events, blocks, owners, bins, genres, scale, random)
    sizes = np.bincount(blocks).astype(np.float64)
    for counts in (usual, changed):
        for name in JUDGED:
            counts[name] = _for_all(counts[name], owners, sizes, rated=1 if name == "error" else None)
    noise = partial(_noise_of_counts, item_counts, genres, len(events))
    return BlockCounts(usual, changed, sizes=sizes, owners=owners, noise=noise)


def _drawn_users(
    users: IntArray, counts: IntArray, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) rows of the ratings of at most ``MOST_USERS`` users, and the number of the user of each."""
    rated = np.flatnonzero(counts)
    if len(rated) > MOST_USERS:
        rated = np.sort(random.choice(rated, MOST_USERS, replace=False))
    number = np.full(len(counts), -1, dtype=np.int64)
    number[rated] = np.arange(len(rated))
    rows = np.flatnonzero(number[users] >= 0)
    return rows, number[users[rows]]


def _cut_into_blocks(users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) the block of each rating, at most ``BLOCK_RATINGS`` of one user, and (blocks,) whose it is.

    A window inside one heavy user's ratings must keep their noise: the mean of all of them has none."""
    order = np.argsort(users, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(users))[:-1]]) if len(users) else np.zeros(0, int)
    rank = np.empty(len(users), dtype=np.int64)
    rank[order] = np.arange(len(users)) - starts[users[order]]
    longest = int(rank.max(initial=0)) // BLOCK_RATINGS + 1
    keys, blocks = np.unique(users * longest + rank // BLOCK_RATINGS, return_inverse=True)
    return blocks, keys // longest


def _for_all(
    counts: NDArray[np.float64], owners: NDArray[np.int64], sizes: NDArray[np.float64], *, rated: int | None
) -> NDArray[np.float64]:
    """Counts of the few ratings that have a prediction, scaled up to all of a block's: its own where half
    of them have one, else in the proportions of its user's (whose own noise is larger, and shared)."""

    def scaled(part: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
        seen = part.sum(axis=1) if rated is None else part[:, rated]
        return np.asarray(part * np.where(seen > 0, size / np.maximum(seen, 1.0), 0.0)[:, None])

    seen = counts.sum(axis=1) if rated is None else counts[:, rated]
    by_user = np.stack([np.bincount(owners, column) for column in counts.T], axis=1).astype(np.float64)
    return np.where((2 * seen >= sizes)[:, None], scaled(counts, sizes), scaled(by_user[owners], sizes))


def _changed(
    events: Events,
    blocks: IntArray,
    owners: IntArray,
    bins: dict[str, NDArray[np.int8]],
    genres: BoolArray,
    scale: tuple[float, float],
    random: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    """The same blocks after the change that each signal is there to see (``drift_thresholds.CHANGES``)."""
    lower = (scale[1] - scale[0]) / 4
    strangers = random.random(int(owners.max(initial=-1)) + 1) < 0.6
    odd_items = random.random(len(genres)) < 0.6
    shuffled = events.predicted.copy()
    judged = np.flatnonzero(np.isfinite(shuffled))
    shuffled[judged] = shuffled[random.permutation(judged)]
    count = partial(histograms, genres=np.roll(genres, 1, axis=1), scale=scale)
    moved = Events(events.users, events.items, events.values - lower, events.predicted - lower)
    confused = Events(events.users, events.items, events.values, shuffled)
    users, items = bins["user_bins"], bins["item_bins"]
    kept = np.random.default_rng(1).random(len(events)) >= LOST  # its own: the other signals' draws stay
    uncovered = replace(events, inside=None if events.inside is None else events.inside * kept)
    shifted = count(moved, blocks, user_bins=_reversed(users), item_bins=_reversed(items))
    arrived = count(
        events,
        blocks,
        user_bins=np.where(strangers[owners[blocks]], 0, users).astype(np.int8),
        item_bins=np.where(odd_items[events.items], 0, items).astype(np.int8),
    )
    others = count(confused, blocks, user_bins=users, item_bins=items)
    return (
        shifted
        | {name: arrived[name] for name in ARRIVALS}
        | {name: others[name] for name in ("error", "genre_mix")}
        | {"coverage": count(uncovered, blocks, user_bins=users, item_bins=items)["coverage"]}
    )


def _reversed(bins: NDArray[np.int8]) -> NDArray[np.int8]:
    """Bins of (n,) events when the most active are as rare as the least active were: bin 0 stays."""
    known = bins[bins > 0]
    if len(known) == 0:
        return bins
    order = np.sort(known)
    rank = np.searchsorted(order, bins, side="left")
    rank_end = np.searchsorted(order, bins, side="right")
    mirrored = order[(len(order) - 1 - (rank + rank_end) // 2).clip(0, len(order) - 1)]
    return np.where(bins > 0, mirrored, 0).astype(np.int8)


def _noise_of_counts(
    counts: IntArray, genres: BoolArray, events: int, random: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """How far the reference of the items' signals may lie from the truth, in ``events`` ratings: the counts
    that put items in their bins are a sample. One draw of (bins,) each."""
    drawn = random.poisson(counts)
    repeated = drawn * (drawn > 1)  # ratings that, left out, leave their item known
    bins, bins_seen = magnitude_bins(drawn), bins_left_out(drawn)
    true, seen = events / max(1, int(counts.sum())), events / max(1, int(drawn.sum()))
    known = counts * (drawn > 0)
    popularity = seen * np.bincount(bins_seen, repeated, minlength=MAGNITUDES)
    popularity -= true * np.bincount(bins, known, minlength=MAGNITUDES)
    fewer = seen * repeated.sum() - true * known.sum()
    mix = seen * (repeated @ genres) - true * (known @ genres)
    return {
        "item_popularity": popularity.astype(np.float64),
        "unknown_items": np.array([-fewer, fewer], dtype=np.float64),
        "genre_mix": mix if genres.shape[1] else np.zeros(1),
    }
