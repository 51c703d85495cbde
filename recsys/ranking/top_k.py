"""Exact top-k of many scores at a fraction of a full partition's cost.

The best ``count`` scores are in the blocks whose maxima are among the ``count`` highest, so only those
blocks are partitioned. A block is every n-th score, so that the maxima are a few passes over contiguous rows.
Ties go to the lower position, exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32


def top_k(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Positions of the highest scores, best first, the lower position first among equals.

    Args:
        scores: (n,); -inf is never returned.
        count: Positions to return.

    Returns:
        (at most ``count``,) positions.
    """
    full_blocks = len(scores) // BLOCK
    if full_blocks > 4 * count:
        maxima = scores[: full_blocks * BLOCK].reshape(BLOCK, full_blocks).max(axis=0)
        last = np.partition(maxima, full_blocks - count)[full_blocks - count]
        blocks = np.flatnonzero(maxima >= last)
        positions = (np.arange(BLOCK)[:, None] * full_blocks + blocks).ravel()
        positions = np.concatenate([positions, np.arange(full_blocks * BLOCK, len(scores))])
    else:
        positions = np.arange(len(scores))
    values = scores[positions]
    if count < len(positions):
        last = np.partition(values, len(positions) - count)[len(positions) - count]
        candidates = np.flatnonzero(values >= last)
        positions, values = positions[candidates], values[candidates]
    order = np.lexsort((positions, -values))[:count]
    order = order[values[order] > -np.inf]
    return positions[order]
