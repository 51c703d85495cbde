"""The best few of many scores, exactly, at a fraction of a full partition.

The best ``count`` scores lie in the ``count`` blocks whose maxima are highest, so only those blocks are
partitioned. A block takes every so-manieth score, so that finding all maxima is a few passes over whole
rows, and no partition of 84,432 scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32


def top_k(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Up to ``count`` positions of (n,) ``scores``, best first, the lower position first among equals.

    Scores of -inf are out of the running."""
    whole = len(scores) // BLOCK
    if whole > 4 * count:
        blocks = scores[: whole * BLOCK].reshape(BLOCK, whole)
        best = np.argpartition(blocks.max(axis=0), whole - count)[whole - count :]
        places = (np.arange(BLOCK)[:, None] * whole + best).ravel()
        places = np.concatenate([places, np.arange(whole * BLOCK, len(scores))])
    else:
        places = np.arange(len(scores))
    values = scores[places]
    if count < len(places):
        kept = np.argpartition(values, len(places) - count)[len(places) - count :]
        places, values = places[kept], values[kept]
    order = np.lexsort((places, -values))
    order = order[values[order] > -np.inf]
    return places[order]
