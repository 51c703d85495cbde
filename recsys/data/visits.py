"""Who rates what, and when, in the made-up world: long tails on both sides, and tastes that choose.

User activity and item popularity are log-normal, as MovieLens's are. Of two items met by popularity a user
mostly rates the one more to the taste, so that what is rated says something, too. Every item is rated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.world import World
from recsys.errors import InputError

ACTIVITY_SIGMA = 1.15
POPULARITY_SIGMA = 2.2
CHOOSY = 0.7  # share of choices that follow taste
LEAST_RATINGS = 20  # of a user, as in MovieLens, where there are enough to go round
CHUNK = 1_000_000  # ratings
FIRST_SECOND, LAST_SECOND = 789_652_009, 1_697_164_147  # January 1995 .. October 2023
DAY = 86_400


@dataclass(frozen=True)
class Visits:
    """Some whole users' ratings to be: sorted by user, then item. ``when`` is 0 .. 1 over all years."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]

    @property
    def when(self) -> NDArray[np.float32]:
        return years_share(self.times)


def visits(
    world: World, *, users: int, items: int, ratings: int, random: np.random.Generator
) -> Iterator[Visits]:
    """``ratings`` visits in all, about ``CHUNK`` at a time."""
    counts = activity(users, items, ratings, random)
    popularity = np.sort(random.lognormal(0, POPULARITY_SIGMA, items))[::-1][random.permutation(items)]
    cumulative = np.cumsum(popularity / popularity.sum())
    # One slot of somebody's for each item, so that none goes unrated.
    slots = random.choice(ratings, items, replace=False)
    must = np.sort(np.repeat(np.arange(users), counts)[slots] * np.int64(items) + np.arange(items))
    starts = FIRST_SECOND + (random.random(users) ** 0.7 * 0.98 * (LAST_SECOND - FIRST_SECOND)).astype(
        np.int64
    )
    spans = random.lognormal(np.log(20), 2, users) * DAY
    ends = np.cumsum(counts)
    first = 0
    while first < users:
        last = max(first + 1, int(np.searchsorted(ends, ends[first] - counts[first] + CHUNK)))
        low, high = np.searchsorted(must, [first * items, last * items])
        pairs = choose(world, cumulative, counts[first:last], first, must[low:high], starts, random)
        rows = (pairs // items).astype(np.int32)
        times = starts[rows] + (random.random(len(rows)) ** 2 * spans[rows]).astype(np.int64)
        yield Visits(rows, (pairs % items).astype(np.int32), np.minimum(times, LAST_SECOND))
        first = last


def activity(users: int, items: int, ratings: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(users,) ratings each, long-tailed, ``ratings`` in sum, none above half of the items."""
    most = max(1, items // 2)
    if not users <= ratings <= users * most or ratings < items:
        raise InputError(
            f"synthetic: {ratings:,} ratings do not fit {users:,} users and {items:,} items; "
            f"expected {max(users, items):,} .. {users * most:,}"
        )
    least = min(LEAST_RATINGS, max(1, ratings // (2 * users)), most)
    shares = random.lognormal(0, ACTIVITY_SIGMA, users)
    counts = np.full(users, least, dtype=np.int64)
    while (missing := ratings - int(counts.sum())) > 0:
        room = counts < most
        lots = np.where(room, shares, 0)
        extra = random.multinomial(missing, lots / lots.sum())
        counts = np.minimum(counts + extra, most)
    return counts


def choose(
    world: World,
    cumulative: NDArray[np.float64],
    counts: NDArray[np.int64],
    first: int,
    must: NDArray[np.int64],
    starts: NDArray[np.int64],
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Sorted pairs (user * items + item) of the users from ``first`` on, ``counts`` each, all distinct,
    ``must`` among them."""
    items = len(cumulative)
    done: list[NDArray[np.int64]] = []
    pairs, attempt = must, 0
    waiting = counts.copy()  # of the users that are not done
    while (missing := waiting - np.bincount(pairs // items - first, minlength=len(counts))).any():
        users = np.repeat(np.arange(len(counts)) + first, missing)
        # Late attempts look ever further from the popular, so that the busiest users find what is left.
        flat = min(1.0, max(0, attempt - 5) / 30)
        met = [pick(cumulative, len(users), flat, random) for _ in range(2)]
        tastes = world.tastes(users, years_share(starts[users]))
        better = world.likings(tastes, met[1]) > world.likings(tastes, met[0])
        follow = random.random(len(users)) < CHOOSY
        chosen = np.where(better & follow, met[1], met[0])
        # Sorting beats np.union1d, which hashes, by twenty times here.
        pairs = np.sort(np.concatenate([pairs, users * np.int64(items) + chosen]))
        pairs = pairs[np.concatenate([[True], pairs[1:] != pairs[:-1]])]
        attempt += 1
        # Only those who still miss some are looked at again.
        rows = pairs // items - first
        full = (np.bincount(rows, minlength=len(counts)) == waiting)[rows]
        done.append(pairs[full])
        waiting[rows[full]] = 0
        pairs = pairs[~full]
    return np.sort(np.concatenate([*done, pairs]))


def years_share(times: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n,) 0 at the first second of the made-up world, 1 at the last."""
    return ((times - FIRST_SECOND) / (LAST_SECOND - FIRST_SECOND)).astype(np.float32)


def pick(
    cumulative: NDArray[np.float64], count: int, flat: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """(count,) items by popularity, a share ``flat`` of them by chance alone."""
    indices = np.searchsorted(cumulative, random.random(count) * cumulative[-1], side="right")
    anyone = random.integers(len(cumulative), size=count)
    chosen: NDArray[np.int64] = np.where(random.random(count) < flat, anyone, indices)
    return chosen
