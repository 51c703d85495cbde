"""Sparse item-to-item weights: the largest of each item, for large catalogues.

A dense (items, items) matrix needs 28 GB for 84,432 items; the largest 200 per item need 200 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.types import Arrays

BLOCK_CELLS = 40_000_000  # of a block (items, columns): 320 MB at most, where none is zero
MAX_PAIRS = 600_000_000  # co-rated pairs; with more, users are sampled


def strongest_links(items: int, links_to: Callable[[slice], sp.csr_matrix], *, kept: int) -> sp.csr_matrix:
    """Keeps the largest weights of each item.

    Args:
        items: Number of items.
        links_to: The weights towards a slice of items, (len(slice), items) sparse: a dense matrix would hold
            7,000 million zeros for 84,432 items.
        kept: Entries of a column.

    Returns:
        (items, items) float32: in each column the ``kept`` entries of largest magnitude, the diagonal zero.
    """
    width = max(1, BLOCK_CELLS // max(items, 1))
    sources, values, counts = [], [], np.zeros(items, dtype=np.int64)
    for first in range(0, items, width):
        block = links_to(slice(first, min(first + width, items))).tocsr()
        for row in range(block.shape[0]):
            entries = slice(block.indptr[row], block.indptr[row + 1])
            index, value = block.indices[entries], block.data[entries]
            chosen = np.flatnonzero((index != first + row) & (value != 0))
            if len(chosen) > kept:
                chosen = chosen[np.argpartition(-np.abs(value[chosen]), kept - 1)[:kept]]
            sources.append(index[chosen])
            values.append(value[chosen].astype(np.float32))
            counts[first + row] = len(chosen)
    ends = np.concatenate([[0], np.cumsum(counts)])
    by_target = sp.csr_matrix(
        (_concatenated(values, np.float32), _concatenated(sources, np.int32), ends), shape=(items, items)
    )
    links = by_target.T.tocsr()
    links.sort_indices()
    return links


def _concatenated(arrays: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(arrays).astype(dtype) if arrays else np.empty(0, dtype=dtype)


def link_arrays(links: sp.csr_matrix) -> Arrays:
    """The arrays of a ``Ranker`` with the weights ``links`` (items, items)."""
    return {
        "links_ends": links.indptr.astype(np.int64),
        "links_items": links.indices.astype(np.int32),
        "links_values": links.data.astype(np.float32),
    }


def sampled_rows(seen: sp.csr_matrix, *, most_pairs: int = MAX_PAIRS) -> sp.csr_matrix:
    """Limits the cost of co-occurrence counts.

    Args:
        seen: (users, items), 1 where rated.
        most_pairs: Co-rated pairs, about.

    Returns:
        ``seen``, or evenly spaced rows of it.
    """
    pairs = float((np.diff(seen.indptr).astype(np.float64) ** 2).sum())
    if pairs <= most_pairs:
        return seen
    rows = max(1, int(seen.shape[0] * most_pairs / pairs))
    return seen[np.linspace(0, seen.shape[0] - 1, rows).astype(np.int64)]
