"""Beyond-accuracy metrics of lists: catalogue coverage, diversity, novelty and popularity bias.

Coverage: share of items in at least one list. Diversity: mean over lists of the mean of 1 - cosine over
pairs of their items (Ziegler et al. 2005, "Improving recommendation lists through topic
diversification"). Novelty: mean self-information of listed items, in bits (Zhou et al. 2010).

Each comes with its 95% interval over users. That of coverage is by the jackknife, which errs on the wide
side (Efron and Stein 1981); a bootstrap over users would list fewer items than the lists do.
"""

from __future__ import annotations

import numpy as np

from recsys.metrics.ranking import NO_ITEM, Lists
from recsys.metrics.significance import ConfidenceInterval, around, mean_over_people
from recsys.types import FloatArray, IntArray

BLOCK = 8192  # lists at a time


def coverage(lists: Lists, item_count: int) -> ConfidenceInterval:
    """Catalogue coverage: the share of all items that are in some list.

    Args:
        lists: (users, k) item rows, NO_ITEM after the last.
        item_count: Of the catalogue.
    """
    listed = lists != NO_ITEM
    times = np.bincount(lists[listed], minlength=item_count)
    value = np.count_nonzero(times) / item_count
    people = len(lists)
    if people < 2:
        return ConfidenceInterval(value, float("nan"), float("nan"))
    # Without one list the share falls by the items that no other holds.
    alone = (listed & (times[lists] == 1)).sum(axis=1) / item_count
    error = np.sqrt((people - 1) / people * np.square(alone - alone.mean()).sum())
    results = around(value, float(error), people)
    return ConfidenceInterval(value, max(results.low, 0.0), min(results.high, 1.0))


def diversity(lists: Lists, features: FloatArray) -> ConfidenceInterval:
    """Mean dissimilarity within lists: 0 for identical items, 1 for unrelated ones.

    Args:
        lists: (users, k) item rows, NO_ITEM after the last.
        features: (items, columns) such as genres; an item without any is unlike every other.

    Returns:
        Lists of one item do not count; NaN where none counts.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros_like(features, dtype=np.float64), where=lengths > 0)
    unit = np.vstack([unit, np.zeros(unit.shape[1])])  # row NO_ITEM: adds nothing
    self_similarity = (unit**2).sum(axis=1)
    results = []
    for start in range(0, len(lists), BLOCK):
        block = lists[start : start + BLOCK]
        size = np.count_nonzero(block != NO_ITEM, axis=1)
        block, size = block[size > 1], size[size > 1]
        # Over ordered pairs i != j, sum of cosines = |sum of vectors|^2 - sum of |vector|^2.
        alike = (unit[block].sum(axis=1) ** 2).sum(axis=1) - self_similarity[block].sum(axis=1)
        results.append(1 - alike / (size * (size - 1)))
    return mean_over_people(np.concatenate(results) if results else np.empty(0))


def novelty(lists: Lists, popularity: IntArray, user_count: int) -> ConfidenceInterval:
    """Mean of -log2(share of users who rated the item) over all listed items, bits.

    Args:
        lists: (users, k) item rows, NO_ITEM after the last.
        popularity: (items,) ratings of each item in train; 0 counts as 1.
        user_count: Of the data.
    """
    information = -np.log2(np.maximum(popularity, 1) / user_count)
    listed = lists != NO_ITEM
    return mean_over_people((information[lists] * listed).sum(axis=1), listed.sum(axis=1))


def popular_share(lists: Lists, popularity: IntArray, *, share: float = 0.1) -> ConfidenceInterval:
    """Popularity bias: the share of listed places that the most popular items take.

    Args:
        lists: (users, k) item rows, NO_ITEM after the last.
        popularity: (items,) ratings of each item in train.
        share: Of all items that count as the most popular, by ``popularity``, ties to the lower row.

    Returns:
        0 to 1; compare with ``popular_share_of_ratings``. NaN without any listed item.
    """
    listed = lists != NO_ITEM
    taken = np.isin(lists, _most_popular(popularity, share)) & listed
    return mean_over_people(taken.sum(axis=1), listed.sum(axis=1))


def popular_share_of_ratings(popularity: IntArray, *, share: float = 0.1) -> float:
    """The share of all ratings that the most popular items have.

    Args:
        popularity: (items,) ratings of each item in train.
        share: Of all items that count as the most popular.

    Returns:
        0 to 1; NaN without any rating.
    """
    total = int(popularity.sum())
    return float(popularity[_most_popular(popularity, share)].sum() / total) if total else float("nan")


def _most_popular(popularity: IntArray, share: float) -> IntArray:
    return np.argsort(-popularity, kind="stable")[: max(1, round(share * len(popularity)))]
