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
from recsys.ensemble.calibration import Correction
from recsys.metrics.catalogue import coverage, diversity, novelty
from recsys.metrics.ranking import evaluate_lists, pair_matrix
from recsys.metrics.rating import loss, mae, mse, rmse
from recsys.models.artifact import load_artifact
from recsys.models.base import History, ModelArtifact
from recsys.models.registry import family_named
from recsys.release.arrays import LoadedCorrection
from recsys.release.load import LoadedMember
from recsys.release.pack import make_histories
from recsys.release.queries import Query
from recsys.release.rating_ensemble import RatingEnsemble
from recsys.release.recommender import Recommender
from recsys.release.user_state import UserState
from recsys.release.writer import ReleaseMember
from recsys.types import IntArray
from search.results.outcome import Figures

LIST = 10


@dataclass(frozen=True)
class Evaluator:
    """A dataset's slices, and the histories that predictions may use."""

    dataset: Dataset
    split: Split
    histories: Callable[[int], History]

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> Evaluator:
        return cls(dataset, split, make_histories(seen_ratings(dataset, split)))

    @property
    def known(self) -> Ratings:
        """What is known of users and items to whoever predicts: train and valid."""
        return seen_ratings(self.dataset, self.split)

    def slice(self, name: SliceName) -> Ratings:
        return self.dataset.ratings.take(self.split.rows(name))

    def predict(self, member: Path | ModelArtifact, ratings: Ratings) -> NDArray[np.float32]:
        """(n,) stars of a member for the pairs of ``ratings``, one user at a time."""
        packed = load_artifact(member) if isinstance(member, Path) else member
        scorer = family_named(packed.family).scorer(packed, self.histories)
        stars = np.empty(len(ratings), dtype=np.float32)
        order = np.argsort(ratings.users, kind="stable")
        ends = np.flatnonzero(np.diff(ratings.users[order])) + 1
        for rows in np.split(order, ends) if len(order) else []:
            state = scorer.known_user(int(ratings.users[rows[0]]))
            stars[rows] = scorer.score(state, ratings.items[rows])
        return np.clip(stars, ratings.scale.low, ratings.scale.high)


def seen_ratings(dataset: Dataset, split: Split) -> Ratings:
    return dataset.ratings.take(np.sort(np.concatenate([split.train, split.valid])))


def rating_predictor(
    members: Sequence[ReleaseMember], known: Ratings, correction: Correction | None
) -> Callable[[int, IntArray], NDArray[np.float32]]:
    """The stars that a release of ``members`` would give a user's items, their state from ``known``."""
    histories = make_histories(known)
    opened = tuple(
        LoadedMember(one.name, one.weight, family_named(one.packed.family).scorer(one.packed, histories))
        for one in members
    )
    stars = RatingEnsemble(
        opened, known.scale, None if correction is None else LoadedCorrection.of(correction, known)
    )
    return lambda user, items: stars.rate(
        stars.states(UserState(user, histories(user), needs_fold_in=False)), items
    )


def rating_metrics(stars: NDArray[np.float32], ratings: Ratings, *, kl: float) -> Figures:
    """``loss`` and ``rmse`` side by side; ``kl`` in nats, mean over latent dimensions."""
    return {
        "loss": loss(mse(stars, ratings.values), kl),
        "rmse": rmse(stars, ratings.values),
        "mae": mae(stars, ratings.values),
        "kl": kl,
        "ratings": float(len(ratings)),
    }


def list_metrics(recommender: Recommender, judge: Evaluator, ratings: Ratings) -> Figures:
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
