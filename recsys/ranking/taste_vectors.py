"""Item vectors whose cosine is the similarity of two items by their raters.

The leading right singular vectors of the binary user-item matrix with its columns scaled to norm 1 (cosine
co-occurrence; EigenRec, Nikolakopoulos et al. 2019), by randomised subspace iteration (Halko et al. 2011),
which needs only sparse products.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.types import FloatArray

SHRINK = 20.0  # ratings at which an item's squared norm is half of the unshrunk one


def right_singular(
    matrix: sp.csr_matrix, rank: int, *, seed: int, rounds: int = 4
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Leading singular values and right singular vectors, by randomised subspace iteration.

    Args:
        matrix: (rows, columns).
        rank: Of the result, at most.
        seed: Of the initial basis.
        rounds: Iterations.

    Returns:
        Values (k,) and vectors (columns, k), largest first.
    """
    rank = min(rank, *(side - 1 for side in matrix.shape))
    rank = max(rank, 1)
    width = min(rank + 16, min(matrix.shape))
    transposed = matrix.T.tocsr()
    basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], width)).astype(np.float32)
    for _ in range(rounds):
        basis, _ = np.linalg.qr(transposed @ (matrix @ basis))
    projected = matrix @ basis  # (rows, width)
    values, rotation = np.linalg.eigh(projected.T @ projected)
    order = np.argsort(-values)[:rank]
    singular = np.sqrt(np.maximum(values[order], 0))
    return singular.astype(np.float32), (basis @ rotation[:, order]).astype(np.float32)


def item_vectors(seen: sp.csr_matrix, *, width: int = 32, seed: int = 0) -> NDArray[np.float32]:
    """Item vectors of a user-item matrix.

    Args:
        seen: (users, items), 1 where rated.
        width: k.
        seed: Of the randomised decomposition.

    Returns:
        (items, k) rows of unit length; zeros for items without a rating.
    """
    counts = np.asarray(seen.sum(axis=0)).ravel()
    scaled = (seen @ sp.diags(1.0 / np.sqrt(counts + SHRINK))).tocsr().astype(np.float32)
    values, right = right_singular(scaled, width, seed=seed)
    return unit_rows(right * values)


def unit_rows(vectors: FloatArray) -> NDArray[np.float32]:
    """``vectors`` (n, k) scaled to unit length; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-12)
    return np.asarray(unit, dtype=np.float32)
