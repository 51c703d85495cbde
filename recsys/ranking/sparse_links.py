"""Item-to-item weights of which each item keeps the strongest: what list families store for large catalogues.

A dense (items, items) matrix takes 28 GB at 84,432 items; the strongest 200 per item take 200 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.types import Arrays

BLOCK_CELLS = 40_000_000  # of a block (items, columns), at most: 320 MB where none of them is zero
MAX_PAIRS = 600_000_000  # co-rated pairs counted; more users than that are sampled


def strongest_links(items: int, links_to: Callable[[slice], sp.csr_matrix], *, kept: int) -> sp.csr_matrix:
    """(items, items) float32: in each column the ``kept`` entries of largest magnitude; the diagonal is zero.

    Args:
        items: Number of items.
        links_to: Gives the weights towards a slice of items, (len(slice), items) sparse: never a dense block,
            which would hold 7,000 million zeros at 84,432 items.
        kept: Entries kept of an item.
    """
    width = max(1, BLOCK_CELLS // max(items, 1))
    sources, values, counts = [], [], np.zeros(items, dtype=np.int64)
    for first in range(0, items, width):
        block = links_to(slice(first, min(first + width, items))).tocsr()
        for row in range(block.shape[0]):
            part = slice(block.indptr[row], block.indptr[row + 1])
            index, value = block.indices[part], block.data[part]
            other = np.flatnonzero((index != first + row) & (value != 0))
            if len(other) > kept:
                other = other[np.argpartition(-np.abs(value[other]), kept - 1)[:kept]]
            sources.append(index[other])
            values.append(value[other].astype(np.float32))
            counts[first + row] = len(other)
    ends = np.concatenate([[0], np.cumsum(counts)])
    towards = sp.csr_matrix(
        (_joined(values, np.float32), _joined(sources, np.int32), ends), shape=(items, items)
    )
    links = towards.T.tocsr()
    links.sort_indices()
    return links


def _joined(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(parts).astype(kind) if parts else np.empty(0, dtype=kind)


def link_arrays(links: sp.csr_matrix) -> Arrays:
    """``links`` as the arrays of a Ranker."""
    return {
        "links_ends": links.indptr.astype(np.int64),
        "links_items": links.indices.astype(np.int32),
        "links_values": links.data.astype(np.float32),
    }


def sampled_rows(seen: sp.csr_matrix, *, most_pairs: int = MAX_PAIRS) -> sp.csr_matrix:
    """``seen``, or as many evenly spaced users of it as keep the co-rated pairs near ``most_pairs``."""
    pairs = float((np.diff(seen.indptr).astype(np.float64) ** 2).sum())
    if pairs <= most_pairs:
        return seen
    rows = max(1, int(seen.shape[0] * most_pairs / pairs))
    return seen[np.linspace(0, seen.shape[0] - 1, rows).astype(np.int64)]
