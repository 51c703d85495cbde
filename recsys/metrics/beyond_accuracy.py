"""What lists are like beyond being right: how much of the catalogue, how varied, how little known.

Coverage: share of items in at least one list. Diversity: mean over lists of the mean of 1 - cosine over
pairs of their items (Ziegler et al. 2005, "Improving recommendation lists through topic
diversification"). Novelty: mean self-information of listed items, in bits (Zhou et al. 2010).
"""

from __future__ import annotations

import numpy as np

from recsys.metrics.ranking import NO_ITEM, Lists
from recsys.types import FloatArray, IntArray

BLOCK = 8192  # lists at a time


def coverage(lists: Lists, item_count: int) -> float:
    """Share of all items that some list holds."""
    listed = lists[lists != NO_ITEM]
    return len(np.unique(listed)) / item_count


def diversity(lists: Lists, features: FloatArray) -> float:
    """Mean dissimilarity within lists, by ``features`` (items, columns) such as genres; 0 alike, 1 unlike.

    An item without features is unlike any other. Lists of one item do not count; NaN where none counts.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.divide(features, lengths, out=np.zeros_like(features, dtype=np.float64), where=lengths > 0)
    unit = np.vstack([unit, np.zeros(unit.shape[1])])  # row NO_ITEM: adds nothing
    own = (unit**2).sum(axis=1)
    total, counted = 0.0, 0
    for start in range(0, len(lists), BLOCK):
        block = lists[start : start + BLOCK]
        size = np.count_nonzero(block != NO_ITEM, axis=1)
        block, size = block[size > 1], size[size > 1]
        # Over ordered pairs i != j, sum of cosines = |sum of vectors|^2 - sum of |vector|^2.
        alike = (unit[block].sum(axis=1) ** 2).sum(axis=1) - own[block].sum(axis=1)
        total += float((1 - alike / (size * (size - 1))).sum())
        counted += len(block)
    return total / counted if counted else float("nan")


def novelty(lists: Lists, popularity: IntArray, user_count: int) -> float:
    """Mean of -log2(share of users who rated the item) over all places of all lists, bits.

    ``popularity`` (items,) counts ratings in train; an item with none counts as having one.
    """
    information = -np.log2(np.maximum(popularity, 1) / user_count)
    return float(information[lists[lists != NO_ITEM]].mean())


def popular_share(lists: Lists, popularity: IntArray, *, share: float = 0.1) -> float:
    """Popularity bias: the share of listed places that the most popular items take.

    Args:
        lists: (users, k) item rows, NO_ITEM after the last.
        popularity: (items,) ratings of each item in train.
        share: Of all items that count as the most popular, by ``popularity``, ties to the lower row.

    Returns:
        0 to 1; compare with the same share of the data's ratings. NaN without any listed item.
    """
    top = np.argsort(-popularity, kind="stable")[: max(1, round(share * len(popularity)))]
    listed = lists[lists != NO_ITEM]
    return float(np.isin(listed, top).mean()) if len(listed) else float("nan")
