"""A release judged offline by the very object that answers over HTTP.

Stars come from ``Recommender``'s members, lists from ``Recommender.recommend``: whatever the endpoint
serves (blend, candidates, fallbacks) is what is measured. Every rating of the slice is relevant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.metrics.catalogue import coverage, diversity, novelty
from recsys.metrics.ranking import NO_ITEM, Lists, evaluate_lists, pair_matrix
from recsys.metrics.rating import loss, mae, mse
from recsys.release.queries import NO_RULES, Query, Rules
from recsys.release.recommender import Recommender
from recsys.types import IntArray


def predict_pairs(recommender: Recommender, ratings: Ratings) -> NDArray[np.float32]:
    """(n,) stars for the pairs of ``ratings``, in their order; their values are never read."""
    stars = np.empty(len(ratings), dtype=np.float32)
    order = np.argsort(ratings.users, kind="stable")
    ends = np.flatnonzero(np.diff(ratings.users[order])) + 1
    for rows in np.split(order, ends) if len(order) else []:
        query = Query(user=int(ratings.users[rows[0]]))
        stars[rows] = recommender.predict(query, ratings.items[rows])
    return stars


def recommended_lists(
    recommender: Recommender, users: IntArray, *, count: int = 10, rules: Rules = NO_RULES
) -> Lists:
    """(len(users), count) item rows as the endpoint would list them, NO_ITEM after the last."""
    lists = np.full((len(users), count), NO_ITEM, dtype=np.int32)
    queries = [Query(user=int(user), count=count) for user in users]
    for row, answer in enumerate(recommender.recommend(queries, rules)):
        items = [one.item for one in answer.recommendations]
        lists[row, : len(items)] = items
    return lists


def evaluate_release(
    recommender: Recommender,
    ratings: Ratings,
    *,
    kls: Mapping[str, float] | None = None,
    count: int = 10,
    rules: Rules = NO_RULES,
) -> dict[str, float]:
    """``loss`` and ``rmse`` side by side, mae, and the lists' precision, recall, NDCG, MAP, coverage,
    diversity (by genre) and novelty (bits), on ``ratings`` of the release's own users.

    ``kls`` are the members' KL by name, nats; 0 where not given. Figures that have no value (diversity
    without genres) are left out."""
    release = recommender.release
    users = np.unique(ratings.users)
    lists = recommended_lists(recommender, users, count=count, rules=rules)
    stars = predict_pairs(recommender, ratings)
    weights = np.array([member.weight for member in release.members])
    kl = float(np.average([(kls or {}).get(member.name, 0.0) for member in release.members], weights=weights))
    error = mse(stars, ratings.values)
    figures = {"loss": loss(error, kl), "rmse": math.sqrt(error), "mae": mae(stars, ratings.values), "kl": kl}
    figures |= evaluate_lists(lists, pair_matrix(ratings)[users]).figures()
    figures["coverage"] = coverage(lists, len(release.items))
    figures["diversity"] = diversity(lists, release.items.member_of.astype(np.float32))
    counts = release.popularity.counts.astype(np.int64)
    figures["novelty"] = novelty(lists, counts, len(release.users))
    return {name: value for name, value in figures.items() if math.isfinite(value)}
