"""Re-ranking by predicted ratings: their weight in a list and the number of candidates, by validation.

Starts from the ranker alone; predicted stars get a weight only for a significant gain, since a rating model
does not rank. Then the fewest candidates without a loss: each costs every member a prediction in a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.metrics.ranking import evaluate_lists, pair_matrix
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of, rated_matrix
from recsys.seeds import derive_seed
from recsys.types import FloatArray, IntArray, JsonObject

USERS = 600
LIST = 10
RATING_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
# At least a hundred for a list of any length, so that the first ten of a top-100 are the top ten.
CANDIDATES = (100, 200)
MIN_STANDARD_ERRORS = 2.0  # standard errors of the paired gain in NDCG
TOLERATED_LOSS = 0.002  # share of NDCG that fewer candidates may cost


@dataclass(frozen=True)
class ListBlend:
    """The re-ranking of a release, as on its card; ``report`` is NDCG@10 by weight and by candidates."""

    ranking_weight: float
    rating_weight: float
    candidates: int
    report: JsonObject


RANKER_ONLY = ListBlend(1.0, 0.0, 100, {})


def choose_list_blend(
    on_train: Ranker,
    rate: Callable[[int, IntArray], FloatArray],
    train: Ratings,
    valid: Ratings,
    *,
    seed: int,
) -> ListBlend:
    """Chooses the weight of predicted stars and the number of candidates by NDCG@10 on valid.

    Args:
        on_train: Ranker fitted to train alone.
        rate: (user, items) to (len(items),) predicted stars, of models fitted to train alone.
        train: Known ratings, whose items are not listed.
        valid: Relevant items.
        seed: Of the sample of users.

    Returns:
        The choice.
    """
    users = np.unique(valid.users)
    users = np.random.default_rng(derive_seed(seed, "mix")).permutation(users)[:USERS]
    if not len(users):
        return ListBlend(1.0, 0.0, CANDIDATES[-1], {"users": 0})
    relevant = pair_matrix(valid)[users]
    items, ranking = _candidates(on_train, users, train)
    scale = train.scale
    unit = np.empty(items.shape, dtype=np.float32)
    for row, user in enumerate(users):
        unit[row] = (rate(int(user), items[row]) - scale.low) / scale.span

    def ndcg(weight: float, count: int) -> NDArray[np.float64]:
        blended = ranking[:, :count] + weight * unit[:, :count]
        order = np.argsort(-blended, axis=1, kind="stable")[:, :LIST]
        return evaluate_lists(np.take_along_axis(items, order, axis=1), relevant).by_user["ndcg"]

    most = items.shape[1]
    by_weight = {weight: ndcg(weight, most) for weight in RATING_WEIGHTS}
    best = max(by_weight, key=lambda weight: by_weight[weight].mean())
    gain = by_weight[best] - by_weight[0.0]
    error = gain.std() / np.sqrt(len(gain))
    if gain.mean() <= MIN_STANDARD_ERRORS * error:
        best = 0.0
    by_count = {count: float(ndcg(best, count).mean()) for count in CANDIDATES if count <= most} or {
        most: 0.0
    }
    required = (1 - TOLERATED_LOSS) * by_count[max(by_count)]
    candidates = next(count for count, value in sorted(by_count.items()) if value >= required)
    return ListBlend(
        1.0,
        best,
        max(candidates, CANDIDATES[0]),
        {
            "users": len(users),
            "ndcg_at_10_by_rating_weight": {str(w): float(v.mean()) for w, v in by_weight.items()},
            "ndcg_at_10_by_candidates": {str(count): value for count, value in by_count.items()},
        },
    )


def _candidates(
    ranker: Ranker, users: IntArray, train: Ratings
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(users, most) item rows, best first, and their scores divided by the user's best."""
    rated = rated_matrix(train)
    most = min(CANDIDATES[-1], ranker.item_count)
    items = np.empty((len(users), most), dtype=np.int32)
    ranking = np.empty((len(users), most), dtype=np.float32)
    for row, user in enumerate(users):
        history = history_of(rated, int(user), train.scale)
        scores = ranker.scores([history])[0]
        scores[history.items] = -np.inf
        rows = np.argpartition(scores, len(scores) - most)[len(scores) - most :]
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        best = scores[rows[0]]
        items[row] = rows
        ranking[row] = scores[rows] / best if best > 0 else scores[rows]
    return items, ranking
