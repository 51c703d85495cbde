"""Top-k lists over the full catalogue, and their accuracy.

Lists are made for blocks of users at once: one score matrix, seen items set to -inf, one partition.
Relevance is binary. Precision divides by k however short the list is; recall by the number of relevant items;
NDCG's ideal and MAP's divisor are min(k, relevant items); MRR is over the first hit in the list, the hit
rate the share of users with any. Users without relevant items do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.ratings import Ratings
from recsys.metrics.significance import ConfidenceInterval, mean_over_people
from recsys.types import BoolArray, FloatArray, IntArray

NO_ITEM = -1
BLOCK_CELLS = 1 << 24  # scores held at a time: 64 MB of float32
Lists = NDArray[np.int32]  # (users, k) item rows, best first, NO_ITEM after the last


@dataclass(frozen=True)
class RankingScores:
    """Ranking metrics at k.

    Attributes:
        count: k.
        rows: (users,) list rows of the users that count.
        by_user: (users,) each of ``precision``, ``recall``, ``ndcg``, ``map``, ``mrr`` and ``hit_rate``, in
            the order of ``rows``.
    """

    count: int
    rows: NDArray[np.int64]
    by_user: dict[str, NDArray[np.float64]]

    @property
    def precision(self) -> float:
        """Mean over the users that count."""
        return float(self.by_user["precision"].mean())

    @property
    def ndcg(self) -> float:
        """Mean over the users that count."""
        return float(self.by_user["ndcg"].mean())

    def figures(self) -> dict[str, float]:
        """The means by their name in results.json, e.g. ``precision_at_10``."""
        return {f"{name}_at_{self.count}": float(values.mean()) for name, values in self.by_user.items()}

    def intervals(self) -> dict[str, ConfidenceInterval]:
        """``figures`` with their 95% intervals over people."""
        return {f"{name}_at_{self.count}": mean_over_people(values) for name, values in self.by_user.items()}


def pair_matrix(ratings: Ratings, *, at_least: float | None = None) -> csr_matrix:
    """The user-item matrix of a set of ratings.

    Args:
        ratings: The pairs.
        at_least: Only pairs rated so many stars or more; None: all.

    Returns:
        (users, items) bool.
    """
    users, items = ratings.users, ratings.items
    if at_least is not None:
        keep = ratings.values >= at_least
        users, items = users[keep], items[keep]
    ones = np.ones(len(users), dtype=np.bool_)
    return csr_matrix((ones, (users, items)), shape=(ratings.user_count, ratings.item_count))


def rank_all(
    score_block: Callable[[IntArray], FloatArray], users: IntArray, seen: csr_matrix, *, count: int = 10
) -> Lists:
    """Top-k lists of unseen items.

    Args:
        score_block: Maps (n,) user rows to (n, items) scores; NaN and -inf are never listed.
        users: (users,) rows to make lists for.
        seen: (all users, items) pairs that are not listed.
        count: Length of a list.

    Returns:
        (users, count) item rows, best first; of equal scores the lower row comes first.

    Raises:
        ValueError: ``score_block`` returns another shape.
    """
    item_count = seen.shape[1]
    lists = np.full((len(users), count), NO_ITEM, dtype=np.int32)
    block = max(1, BLOCK_CELLS // max(item_count, 1))
    for start in range(0, len(users), block):
        rows = users[start : start + block]
        scores = score_block(rows).copy()
        if scores.shape != (len(rows), item_count):
            raise ValueError(f"expected scores of shape {(len(rows), item_count)}, got {scores.shape}")
        scores[np.isnan(scores)] = -np.inf
        seen_rows = seen[rows]
        scores[np.repeat(np.arange(len(rows)), np.diff(seen_rows.indptr)), seen_rows.indices] = -np.inf
        lists[start : start + block] = best_of(scores, count)
    return lists


def best_of(scores: FloatArray, count: int) -> Lists:
    """Each row's highest scores, best first; among equal scores the lower column comes first, exactly.

    Args:
        scores: (rows, columns); -inf is never listed.
        count: Columns wanted of each row.

    Returns:
        (rows, count) columns, NO_ITEM after the last.
    """
    rows = np.arange(len(scores))[:, None]
    width = min(count, scores.shape[1])
    cut = scores.shape[1] - width
    chosen = np.argpartition(scores, cut, axis=1)[:, cut:]
    last = scores[rows, chosen].min(axis=1, keepdims=True, initial=np.inf)
    # A partition keeps any of several equal scores: where some are left over, the first are taken.
    for row in np.flatnonzero((scores >= last).sum(axis=1) > width):
        above = np.flatnonzero(scores[row] > last[row])
        equal = np.flatnonzero(scores[row] == last[row])[: width - len(above)]
        chosen[row] = np.concatenate([above, equal])
    chosen = np.sort(chosen, axis=1)
    order = np.argsort(-scores[rows, chosen], axis=1, kind="stable")
    chosen = chosen[rows, order]
    best = np.full((len(scores), count), NO_ITEM, dtype=np.int32)
    best[:, :width] = np.where(np.isneginf(scores[rows, chosen]), NO_ITEM, chosen)
    return best


def hits_of(lists: Lists, relevant: csr_matrix) -> BoolArray:
    """Marks the relevant items of lists.

    Args:
        lists: (users, k) item rows.
        relevant: (users, items), row for row.

    Returns:
        (users, k) True where the listed item is relevant.
    """
    width = np.int64(relevant.shape[1])
    relevant_keys = (
        np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr)) * width + relevant.indices
    )
    listed_keys = np.arange(len(lists))[:, None] * width + lists
    hits: BoolArray = np.isin(listed_keys, relevant_keys) & (lists != NO_ITEM)
    return hits


def evaluate_lists(lists: Lists, relevant: csr_matrix) -> RankingScores:
    """Ranking metrics of lists.

    Args:
        lists: (users, k) item rows, NO_ITEM after the last.
        relevant: (users, items), row for row.

    Raises:
        ValueError: The rows differ in number, or no user has a relevant item.
    """
    if len(lists) != relevant.shape[0]:
        raise ValueError(f"expected a list for each of {relevant.shape[0]} users, got {len(lists)}")
    relevant_counts = np.diff(relevant.indptr)
    rows = np.flatnonzero(relevant_counts)
    if len(rows) == 0:
        raise ValueError("no user has a relevant item, so there is nothing to evaluate")
    count = lists.shape[1]
    hits = hits_of(lists, relevant)[rows].astype(np.float64)
    ideal = np.minimum(relevant_counts[rows], count)
    discounts = 1 / np.log2(np.arange(2, count + 2))
    hit_counts = hits.sum(axis=1)
    ranks = np.arange(1, count + 1)
    by_user = {
        "precision": hit_counts / count,
        "recall": hit_counts / relevant_counts[rows],
        "ndcg": hits @ discounts / np.cumsum(discounts)[ideal - 1],
        "map": (hits * np.cumsum(hits, axis=1) / ranks).sum(axis=1) / ideal,
        "mrr": (hits / ranks).max(axis=1, initial=0),
        "hit_rate": (hit_counts > 0).astype(np.float64),
    }
    return RankingScores(count, rows, by_user)
