"""Item-to-item weights of which each item keeps the strongest: what list families store for large catalogues.

A dense (items, items) matrix takes 28 GB at 84,432 items; the strongest 200 per item take 200 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp

from recsys.types import Arrays, FloatArray, IntArray

BLOCK_CELLS = 40_000_000  # of a dense block (items, columns): 160 MB of float32
MAX_PAIRS = 600_000_000  # co-rated pairs counted; more users than that are sampled


def column_blocks(items: int) -> Iterator[slice]:
    """Blocks of columns whose dense form fits BLOCK_CELLS."""
    width = max(1, BLOCK_CELLS // max(items, 1))
    for first in range(0, items, width):
        yield slice(first, min(first + width, items))


def strongest_links(
    items: int, block_of: Callable[[slice], FloatArray], *, kept: int, skip: IntArray | None = None
) -> sp.csr_matrix:
    """(items, items) float32: in each column the ``kept`` entries of largest magnitude, the lower row first
    among equals; the diagonal is zero.

    Args:
        items: Number of items.
        block_of: Gives the dense (items, columns) float32 block of a slice of columns; may be overwritten.
        kept: Entries kept of a column.
        skip: Columns that stay empty.
    """
    parts = []
    for columns in column_blocks(items):
        block = block_of(columns)
        width = block.shape[1]
        block[np.arange(columns.start, columns.stop), np.arange(width)] = 0
        if kept < items:
            size = np.abs(block)
            last = np.partition(size, items - kept, axis=0)[items - kept]
            block[size < last] = 0
        parts.append(sp.csc_matrix(block, dtype=np.float32))
    links = sp.hstack(parts, format="csr") if parts else sp.csr_matrix((items, items), dtype=np.float32)
    if skip is not None:
        keep = np.ones(items, dtype=np.float32)
        keep[skip] = 0
        links = links @ sp.diags(keep)
    links = links.tocsr().astype(np.float32)
    links.eliminate_zeros()
    links.sort_indices()
    return links


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
