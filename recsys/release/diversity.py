"""Maximal marginal relevance (Carbonell & Goldstein 1998): lists that trade relevance for diversity.

The similarity of two items is the mean of their genres' cosine and their vectors' cosine. The dial is 0 for
the plain list and 1 for the most diverse one; scores are first scaled to 0..1 over the candidates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.release.arrays import ItemCatalogue
from recsys.types import FloatArray, IntArray


def similarity(catalogue: ItemCatalogue, items: IntArray) -> NDArray[np.float32]:
    """Pairwise similarity of items.

    Args:
        catalogue: Of the release.
        items: (n,) rows.

    Returns:
        (n, n) in [-0.5, 1].
    """
    genres = catalogue.member_of[items].astype(np.float32)
    genres /= np.maximum(np.sqrt(genres.sum(axis=1, keepdims=True)), 1)
    vectors = catalogue.vectors[items]
    return np.asarray(0.5 * (genres @ genres.T + vectors @ vectors.T), dtype=np.float32)


def diversify(
    catalogue: ItemCatalogue, items: IntArray, scores: FloatArray, *, count: int, dial: float
) -> NDArray[np.int64]:
    """Selects items by maximal marginal relevance.

    Args:
        catalogue: Of the release.
        items: (n,) candidate rows.
        scores: (n,) their relevance.
        count: Items to select.
        dial: 0 to 1.

    Returns:
        (count,) indices into ``items``, in the order of selection.
    """
    similarities = similarity(catalogue, items)
    low, high = float(scores.min()), float(scores.max())
    relevance = (scores - low) / (high - low) if high > low else np.zeros_like(scores)
    max_similarity = np.zeros(len(items), dtype=np.float32)
    available = np.ones(len(items), dtype=np.bool_)
    chosen = []
    for _ in range(min(count, len(items))):
        value = np.where(available, (1 - dial) * relevance - dial * max_similarity, -np.inf)
        best = int(value.argmax())
        chosen.append(best)
        available[best] = False
        max_similarity = np.maximum(max_similarity, similarities[best])
    return np.array(chosen, dtype=np.int64)
