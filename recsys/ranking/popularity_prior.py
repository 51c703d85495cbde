"""Popularity prior for users with few ratings (cold start).

A ranker's scores from one rating vary as much as those from a hundred, so its lists for new users are worse
than the most popular items. So popularity is added, by weight / n for a user with n ratings, in shares of the
ranker's best score: shrinkage towards popularity, as by a prior worth ``weight`` ratings. The weight is
chosen on validation, with users reduced to a few of their ratings.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.sparse as sp

from recsys.data.ratings import RatingScale
from recsys.metrics.ranking import evaluate_lists, rank_all
from recsys.models.base import History
from recsys.ranking.ranker import Ranker, add_popularity
from recsys.ranking.rating_matrix import history_of, popularity
from recsys.types import FloatArray, IntArray, JsonObject

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
HISTORY_LENGTHS = (1, 2, 3, 5, 10)  # ratings that users are reduced to
USERS = 300


def choose_popularity_prior(
    ranker: Ranker,
    users: IntArray,
    rated: sp.csr_matrix,
    relevant: sp.csr_matrix,
    *,
    seed: int,
    scale: RatingScale,
) -> tuple[float, JsonObject]:
    """Chooses the weight by NDCG@10 of users reduced to each of HISTORY_LENGTHS.

    Args:
        ranker: Fitted to ``rated`` alone.
        users: Rows of the users to evaluate, ascending.
        rated: (users, items) as ``rating_matrix.rated_matrix``.
        relevant: (len(users), items) held-out items.
        seed: Of the sample of users and of ratings.
        scale: The ratings' scale.

    Returns:
        The weight with the best mean, in ratings, and a report with the mean of each.
    """
    random = np.random.default_rng(seed)
    sample = np.sort(random.permutation(len(users))[:USERS])
    users, relevant = users[sample], relevant[sample]
    prior = popularity(rated)
    ndcg: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for length in HISTORY_LENGTHS:
        histories = [_sampled(history_of(rated, int(user), scale), length, random) for user in users]
        plain = ranker.scores(histories)
        for weight, figures in ndcg.items():
            scores = plain.copy()
            add_popularity(scores, histories, prior, weight)
            lists = rank_all(partial(_rows_of, scores, users), users, rated)
            figures.append(evaluate_lists(lists, relevant).ndcg)
    means = {weight: float(np.mean(figures)) for weight, figures in ndcg.items()}
    return max(means, key=means.__getitem__), {"given": list(HISTORY_LENGTHS), "ndcg_at_10_by_weight": means}


def _rows_of(scores: FloatArray, users: IntArray, block: IntArray) -> FloatArray:
    """The rows of ``scores`` (len(users), items) for the users of ``block``; ``users`` ascend."""
    return scores[np.searchsorted(users, block)]


def _sampled(history: History, count: int, random: np.random.Generator) -> History:
    rows = np.sort(random.permutation(len(history.items))[:count])
    return History(history.items[rows], history.values[rows])
