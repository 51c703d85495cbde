"""What the prior mean of a side's vectors is linear in, as thin singular value decompositions.

Rows are centred side features, or who-rated-what divided by the root of the row's count (the implicit
set of SVD++, Koren 2008). In the singular basis the regression's posterior is diagonal, so that its
weight can be resampled every sweep at no cost. Large matrices are cut to their leading singular vectors
by a randomised range finder (Halko, Martinsson & Tropp 2011).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
EXACT = 512  # smaller side of a matrix that is decomposed whole
SMALLEST_PIVOT = 1e-5  # share of a column's square that lies outside the span of those before it


@dataclass(frozen=True)
class Basis:
    """``left`` (rows, rank), ``values`` (rank,), ``right`` (columns, rank): matrix = left values right'."""

    left: NDArray[np.float32]
    values: Array
    right: NDArray[np.float32]


def history_basis(
    rows: NDArray[Any],
    columns: NDArray[Any],
    shape: tuple[int, int],
    *,
    rank: int,
    seed: int,
    device: torch.device = torch.device("cpu"),
) -> Basis | None:
    """Of the 0/1 matrix of ratings given, each row divided by the root of its count."""
    counts = np.maximum(np.bincount(rows, minlength=shape[0]), 1)
    scales = (1 / np.sqrt(counts)).astype(np.float32)
    matrix = sparse.csr_matrix((scales[rows], (rows, columns)), shape=shape)
    return _leading(matrix, rank=rank, seed=seed, device=device)


def feature_basis(features: NDArray[np.float32], seen: NDArray[np.bool_]) -> Basis | None:
    """Of side features, centred on the rows that have ratings."""
    if features.shape[1] == 0 or not seen.any():
        return None
    centred = features.astype(np.float64) - features[seen].astype(np.float64).mean(axis=0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    return _kept(left, values, right.T)


def _leading(matrix: sparse.csr_matrix, *, rank: int, seed: int, device: torch.device) -> Basis | None:
    smaller = min(matrix.shape)
    if smaller <= EXACT:
        left, values, right = np.linalg.svd(matrix.toarray().astype(np.float64), full_matrices=False)
        return _kept(left[:, :rank], values[:rank], right[:rank].T)
    random = np.random.default_rng(seed)
    width = min(rank + 20, smaller)
    down, up = _on_device(matrix, device), _on_device(matrix.T.tocsr(), device)
    sketch = random.standard_normal((matrix.shape[1], width), dtype=np.float32)
    result = down @ torch.from_numpy(sketch).to(device)
    for _ in range(3):
        result = down @ (up @ _conditioned(result))
    result = torch.linalg.qr(result)[0]
    inner, lengths, other = torch.linalg.svd((up @ result).T, full_matrices=False)
    return _kept(
        (result @ inner[:, :rank]).cpu().numpy(),
        lengths[:rank].cpu().numpy().astype(np.float64),
        other[:rank].T.cpu().numpy(),
    )


def _conditioned(columns: torch.Tensor) -> torch.Tensor:
    """About orthonormal columns of the same span: by Cholesky, a fifth of a QR's time; by QR where they are
    too alike, which a pivot of rounding errors shows as well as a failed factorisation."""
    gram = columns.T @ columns
    root, failed = torch.linalg.cholesky_ex(gram)
    pivots = root.diagonal().square() / gram.diagonal()
    result: torch.Tensor = (
        torch.linalg.qr(columns)[0]
        if int(failed) or float(pivots.min()) < SMALLEST_PIVOT
        else torch.linalg.solve_triangular(root.T, columns, upper=True, left=False)
    )
    return result


def _on_device(matrix: sparse.csr_matrix, device: torch.device) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32, copy=False)),
            torch.from_numpy(matrix.indices.astype(np.int32, copy=False)),
            torch.from_numpy(matrix.data),
            matrix.shape,
            check_invariants=False,
        ).to(device)


def _kept(left: NDArray[Any], values: Array, right: NDArray[Any]) -> Basis | None:
    keep = values > 1e-3 * max(float(values.max(initial=0.0)), 1e-12)
    if not keep.any():
        return None
    return Basis(
        np.ascontiguousarray(left[:, keep], dtype=np.float32),
        values[keep].copy(),
        np.ascontiguousarray(right[:, keep], dtype=np.float32),
    )
