"""Small made-up ratings with something to learn: user and item effects, and a checkerboard of tastes."""

from __future__ import annotations

import numpy as np

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.base import History

SCALE = RatingScale(0.5, 5.0)


def checkerboard(*, users: int = 60, items: int = 40, noise: float = 0.2, seed: int = 0) -> Ratings:
    """Four of five pairs rated. Even users love even items, odd users odd ones; the last user and the
    last item have no rating at all."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(users - 1), np.arange(items - 1), indexing="ij"), axis=-1)
    pairs = grid.reshape(-1, 2)
    pairs = pairs[random.permutation(len(pairs))[: len(pairs) * 4 // 5]]
    of_users, of_items = random.normal(0, 0.4, users), random.normal(0, 0.4, items)
    taste = np.where(pairs.sum(axis=1) % 2 == 0, 0.9, -0.9)
    values = 2.8 + of_users[pairs[:, 0]] + of_items[pairs[:, 1]] + taste + random.normal(0, noise, len(pairs))
    return Ratings(
        users=pairs[:, 0].astype(np.int32),
        items=pairs[:, 1].astype(np.int32),
        values=(np.round(values.clip(0.5, 5) * 2) / 2).astype(np.float32),
        times=random.integers(10**9, 10**9 + 10**6, len(pairs)),
        scale=SCALE,
        user_count=users,
        item_count=items,
    )


def training_data(ratings: Ratings | None = None, *, seed: int = 0) -> TrainingData:
    """A random fifth for valid."""
    ratings = checkerboard(seed=seed) if ratings is None else ratings
    rows = np.random.default_rng(seed).permutation(len(ratings))
    cut = len(ratings) // 5
    return TrainingData(train=ratings.take(np.sort(rows[cut:])), valid=ratings.take(np.sort(rows[:cut])))


def history_of(ratings: Ratings, user: int) -> History:
    """A user's ratings, oldest first."""
    rows = np.flatnonzero(ratings.users == user)
    if ratings.times is not None:
        rows = rows[np.argsort(ratings.times[rows], kind="stable")]
    return History(items=ratings.items[rows], values=ratings.values[rows])
