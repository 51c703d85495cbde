"""Figures of finished models on a slice: stars for its pairs, and how far they are off.

Predictions come from the packed members, as a release would give them: a person's state from the ratings
that the release will hold (train and valid), never from the slice that is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.split import SliceName, Split
from recsys.ensemble.correction import Correction
from recsys.metrics.catalogue import coverage, diversity, novelty
from recsys.metrics.ranking import evaluate_lists, pair_matrix
from recsys.metrics.rating import loss, mae, mse, rmse
from recsys.models.base import History, PackedMember, Scorer
from recsys.models.packed import open_member
from recsys.models.registry import family_named
from recsys.release.answers import Query
from recsys.release.pack import make_histories
from recsys.release.recommender import Recommender
from recsys.release.writer import ReleaseMember
from recsys.types import IntArray
from search.results.outcome import Figures

LIST = 10


@dataclass(frozen=True)
class Judge:
    """A dataset's slices, the ratings ``known`` of users and items to whoever predicts, and ``histories`` of
    them."""

    dataset: Dataset
    split: Split
    known: Ratings
    histories: Callable[[int], History]

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> Judge:
        rows = np.sort(np.concatenate([split.train, split.valid]))
        known = dataset.ratings.take(rows)
        return cls(dataset, split, known, make_histories(known))

    def slice(self, name: SliceName) -> Ratings:
        return self.dataset.ratings.take(self.split.rows(name))

    def predict(self, member: Path | PackedMember, ratings: Ratings) -> NDArray[np.float32]:
        """(n,) stars of a member for the pairs of ``ratings``, one user at a time."""
        packed = open_member(member) if isinstance(member, Path) else member
        scorer = family_named(packed.family).scorer(packed, self.histories)
        stars = np.empty(len(ratings), dtype=np.float32)
        order = np.argsort(ratings.users, kind="stable")
        ends = np.flatnonzero(np.diff(ratings.users[order])) + 1
        for rows in np.split(order, ends) if len(order) else []:
            state = scorer.known_user(int(ratings.users[rows[0]]))
            stars[rows] = scorer.score(state, ratings.items[rows])
        return np.clip(stars, ratings.scale.low, ratings.scale.high)


class Stars:
    """The ensemble's predicted rating of some items for one user; their state comes from ``known``."""

    def __init__(
        self, scorers: list[Scorer], weights: list[float], known: Ratings, correction: Correction | None
    ) -> None:
        self._scorers, self._weights, self._scale = scorers, weights, known.scale
        self._correction = correction
        if correction is not None:
            self._users, self._items = correction.of_users(known), correction.of_items(known)

    @classmethod
    def of(cls, members: Sequence[ReleaseMember], known: Ratings, correction: Correction | None) -> Stars:
        histories = make_histories(known)
        scorers = [family_named(one.packed.family).scorer(one.packed, histories) for one in members]
        return cls(scorers, [one.weight for one in members], known, correction)

    def __call__(self, user: int, items: IntArray) -> NDArray[np.float32]:
        stars = np.zeros(len(items), dtype=np.float32)
        for scorer, weight in zip(self._scorers, self._weights, strict=True):
            stars += np.float32(weight) * scorer.score(scorer.known_user(user), items)
        if self._correction is not None:
            stars = self._correction.apply(stars, self._users[user], self._items[items])
        return np.clip(stars, self._scale.low, self._scale.high)


def rating_figures(stars: NDArray[np.float32], ratings: Ratings, *, kl: float) -> Figures:
    """``loss`` and ``rmse`` side by side; ``kl`` in nats, mean over latent dimensions."""
    return {
        "loss": loss(mse(stars, ratings.values), kl),
        "rmse": rmse(stars, ratings.values),
        "mae": mae(stars, ratings.values),
        "kl": kl,
        "ratings": float(len(ratings)),
    }


def list_figures(recommender: Recommender, judge: Judge, ratings: Ratings) -> Figures:
    """Lists of ten for everyone with a rating in ``ratings``, every one of those relevant."""
    users = np.unique(ratings.users)
    lists = np.full((len(users), LIST), -1, dtype=np.int32)
    answers = recommender.recommend([Query(user=int(user), count=LIST) for user in users])
    for row, answer in enumerate(answers):
        items = [recommendation.item for recommendation in answer.recommendations]
        lists[row, : len(items)] = items
    dataset = judge.dataset
    popularity = np.bincount(judge.slice("train").items, minlength=dataset.ratings.item_count)
    figures = evaluate_lists(lists, pair_matrix(ratings)[users]).figures()
    figures["coverage"] = coverage(lists, dataset.ratings.item_count)
    figures["novelty"] = novelty(lists, popularity, dataset.ratings.user_count)
    if dataset.catalogue.genre_names():
        figures["diversity"] = diversity(lists, dataset.catalogue.genre_matrix().astype(np.float32))
    return {name: value for name, value in figures.items() if np.isfinite(value)}
