"""What the prior mean of a side's vectors is linear in, as thin singular value decompositions.

Rows are centred side features, or who-rated-what divided by the root of the row's count (the implicit
set of SVD++, Koren 2008). In the singular basis the regression's posterior is diagonal, so that its
weight can be resampled every sweep at no cost. Large matrices are cut to their leading singular vectors
by a randomised range finder (Halko, Martinsson & Tropp 2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Basis:
    """``left`` (rows, rank), ``values`` (rank,), ``right`` (columns, rank): matrix = left values right'."""

    left: Array
    values: Array
    right: Array


def history_basis(
    rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int], *, rank: int, seed: int
) -> Basis | None:
    """Of the 0/1 matrix of ratings given, each row divided by the root of its count."""
    ones = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    counts = np.maximum(np.asarray(ones.sum(axis=1)).ravel(), 1)
    return _leading(sparse.diags(1 / np.sqrt(counts)) @ ones, rank=rank, seed=seed)


def feature_basis(features: NDArray[np.float32], seen: NDArray[np.bool_]) -> Basis | None:
    """Of side features, centred on the rows that have ratings."""
    if features.shape[1] == 0 or not seen.any():
        return None
    centred = features.astype(np.float64) - features[seen].astype(np.float64).mean(axis=0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    return _kept(left, values, right.T)


def _leading(matrix: Any, *, rank: int, seed: int) -> Basis | None:
    smaller = min(matrix.shape)
    if smaller <= 512:
        left, values, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
        return _kept(left[:, :rank], values[:rank], right[:rank].T)
    random = np.random.default_rng(seed)
    width = min(rank + 20, smaller)
    result = matrix @ random.standard_normal((matrix.shape[1], width))
    for _ in range(3):
        result, _ = np.linalg.qr(result)
        result = matrix @ (matrix.T @ result)
    result, _ = np.linalg.qr(result)
    inner, values, right = np.linalg.svd((matrix.T @ result).T, full_matrices=False)
    return _kept((result @ inner)[:, :rank], values[:rank], right[:rank].T)


def _kept(left: Array, values: Array, right: Array) -> Basis | None:
    keep = values > 1e-3 * max(float(values.max(initial=0.0)), 1e-12)
    if not keep.any():
        return None
    return Basis(
        np.ascontiguousarray(left[:, keep]), values[keep].copy(), np.ascontiguousarray(right[:, keep])
    )
