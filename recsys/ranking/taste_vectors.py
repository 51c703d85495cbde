"""Vectors whose cosine says how alike two items are: who rated them, not how.

The leading right singular vectors of the user-item matrix with its columns scaled to norm 1 (cosine
co-occurrence; EigenRec, Nikolakopoulos et al. 2019), by randomised subspace iteration (Halko et al.
2011), which touches the ratings only through sparse products.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.types import FloatArray

SHRINK = 20.0  # ratings an item needs before its vector is worth half


def right_singular(
    matrix: sp.csr_matrix, rank: int, *, seed: int, rounds: int = 4
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Singular values (k,) and right vectors (columns, k), largest first; k is at most ``rank``."""
    rank = min(rank, *(side - 1 for side in matrix.shape))
    rank = max(rank, 1)
    width = min(rank + 16, min(matrix.shape))
    transposed = matrix.T.tocsr()
    basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], width)).astype(np.float32)
    for _ in range(rounds):
        basis, _ = np.linalg.qr(transposed @ (matrix @ basis))
    small = matrix @ basis  # (rows, width)
    values, rotation = np.linalg.eigh(small.T @ small)
    order = np.argsort(-values)[:rank]
    singular = np.sqrt(np.maximum(values[order], 0))
    return singular.astype(np.float32), (basis @ rotation[:, order]).astype(np.float32)


def item_vectors(seen: sp.csr_matrix, *, width: int = 32, seed: int = 0) -> NDArray[np.float32]:
    """(items, k) unit rows for a binary (users, items) matrix; zero rows for items nobody rated."""
    counts = np.asarray(seen.sum(axis=0)).ravel()
    scaled = (seen @ sp.diags(1.0 / np.sqrt(counts + SHRINK))).tocsr().astype(np.float32)
    values, right = right_singular(scaled, width, seed=seed)
    return unit_rows(right * values)


def unit_rows(vectors: FloatArray) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-12)
    return np.asarray(unit, dtype=np.float32)
