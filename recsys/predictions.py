"""Predicted ratings of given user-item pairs, by one model or by the ensemble of a release.

Users whom the model was not fitted on are folded in from ``histories``, which maps user rows to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.models.base import History, Scorer
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from recsys.types import FloatArray, IntArray

Predict = Callable[[int, IntArray], FloatArray]
Histories = Mapping[int, History]
NO_HISTORIES: Histories = {}


def scorer_predictor(scorer: Scorer, histories: Histories = NO_HISTORIES) -> Predict:
    """Stars by one packed model, as a release would have it predict.

    Args:
        scorer: Of a model's artifact.
        histories: Of people whom it was not fitted on.

    Returns:
        ``predict(user, items)``, which gives (len(items),) stars, not clipped to the scale.
    """
    return lambda user, items: scorer.score(_state(scorer, user, histories), items)


def release_predictor(recommender: Recommender, histories: Histories = NO_HISTORIES) -> Predict:
    """Stars by the ensemble of a release, as ``scorer_predictor`` for one model.

    Args:
        recommender: Of the release.
        histories: Of users whom it was not fitted on.

    Returns:
        ``predict(user, items)``, which returns (len(items),) stars.
    """
    return lambda user, items: recommender.predict(query_of(user, histories), items)


def query_of(user: int, histories: Histories = NO_HISTORIES, *, count: int = 10) -> Query:
    """The query of a user in evaluation.

    Args:
        user: Row.
        histories: Users in it are queried as unknown users with that history.
        count: Length of the list.
    """
    history = histories.get(user)
    return Query(user=user if history is None else None, history=history, count=count)


def _state(scorer: Scorer, user: int, histories: Histories) -> Any:
    history = histories.get(user)
    return scorer.known_user(user) if history is None else scorer.fold_in(history)


def predict_pairs(predict: Predict, ratings: Ratings) -> NDArray[np.float32]:
    """Predicted stars for pairs, inside the scale.

    Args:
        predict: See ``scorer_predictor``.
        ratings: The pairs; their values are never read.

    Returns:
        (n,) stars inside the scale, in the order of ``ratings``.
    """
    return np.clip(_by_user(predict, ratings), ratings.scale.low, ratings.scale.high)


def scorer_kl(
    scorer: Scorer, ratings: Ratings, *, most: int = 100_000, histories: Histories = NO_HISTORIES
) -> float | None:
    """KL of a model's latent on pairs, as it predicts them: nats, mean over dimensions and pairs.

    Args:
        scorer: Of a model's artifact.
        ratings: The pairs; their values are never read.
        most: Pairs at most that are read, evenly spaced.
        histories: Of people whom it was not fitted on.

    Returns:
        None where the model has no latent, or the artifact lacks what it takes (an older one; a prior of
        features).
    """
    kl = getattr(scorer, "kl", None)
    if kl is None or not getattr(scorer, "has_kl", False) or not len(ratings):
        return None
    nats = _by_user(lambda user, items: kl(_state(scorer, user, histories), items), ratings.thinned(most))
    return float(nats.mean(dtype=np.float64))


def scorer_deviations(
    scorer: Scorer, ratings: Ratings, *, most: int = 200_000, histories: Histories = NO_HISTORIES
) -> NDArray[np.float32] | None:
    """How far ratings lie around their prediction by a model's posterior.

    Args:
        scorer: Of a model's artifact.
        ratings: The pairs; their values are never read.
        most: Pairs at most that are asked for, evenly spaced.
        histories: Of people whom it was not fitted on.

    Returns:
        (n,) stars, NaN for pairs not asked for; None where the model has no posterior.
    """
    deviations = getattr(scorer, "deviations", None)
    if deviations is None:
        return None
    values = np.full(len(ratings), np.nan, dtype=np.float32)
    rows = np.linspace(0, len(ratings) - 1, min(most, len(ratings))).astype(np.int64)
    values[rows] = _by_user(
        lambda user, items: deviations(_state(scorer, user, histories), items), ratings.take(rows)
    )
    return values


def _by_user(predict: Predict, ratings: Ratings) -> NDArray[np.float32]:
    """(n,) of ``predict``, asked for one user at a time."""
    values = np.empty(len(ratings), dtype=np.float32)
    order = np.argsort(ratings.users, kind="stable")
    ends = np.flatnonzero(np.diff(ratings.users[order])) + 1
    for rows in np.split(order, ends) if len(order) else []:
        values[rows] = predict(int(ratings.users[rows[0]]), ratings.items[rows])
    return values
