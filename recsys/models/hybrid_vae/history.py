"""Histories of users and items as implicit and explicit feedback (SVD++, Koren 2008, on both sides).

h_u = sum over j in N(u) without i of (Y_j + (r_uj - centre) W_j) / sqrt(|N(u)| - 1), and g_i the same with
users for items. The target's own rating is left out, or the label leaks into the input (measured: the
training error collapses, valid does not improve); the centre is a constant, since a user's mean would contain
the target again. Sums are sparse products: over full histories in prediction and in training on small data,
over a batch's rows (``batch_history.py``) in training on large data. ``attended`` weighs them
(``attention.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from torch import Tensor, nn

from recsys.data.ratings import Ratings
from recsys.models.hybrid_vae.attention import Attention
from recsys.models.hybrid_vae.batch_history import BatchMatrix
from recsys.models.hybrid_vae.config import HistoryKind
from recsys.models.hybrid_vae.gather import gather
from recsys.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Pairs:
    """User-item pairs on a device; a field is None for a model that does not read it.

    Attributes:
        users, items: (n,) rows.
        centred: (n,) stars minus the centre.
        in_user, in_item: (n,) 1 where the pair is in the user's, in the item's history, else 0.
        left_out: (n,) change of the start's score when the pair's own rating is left out.
        user_level, item_level: (n,) bins of ``time_levels.py``.
    """

    users: Tensor
    items: Tensor
    centred: Tensor | None = None
    in_user: Tensor | None = None
    in_item: Tensor | None = None
    left_out: Tensor | None = None
    user_level: Tensor | None = None
    item_level: Tensor | None = None

    def take(self, rows: Tensor) -> Pairs:
        """The pairs at the indices ``rows`` (batch,)."""
        columns = vars(self).values()
        return Pairs(*(None if column is None else column[rows] for column in columns))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class BatchSums:
    """History sums of a batch.

    Attributes:
        values: (distinct rows, width).
        index: (batch,) index of each pair's row.
        kept: (batch,) ratings that were summed.
        has_target: (batch,) 1.0 where the pair's own rating is among them.
    """

    values: Tensor
    index: Tensor
    kept: Tensor
    has_target: Tensor


class _Product(torch.autograd.Function):
    """``matrix @ table`` for a constant sparse matrix with a given transpose."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ gradients[0].contiguous(), None, None


Matrices = Sequence[tuple[Tensor, Tensor | None]]  # forward and transposed; None where no gradient is needed


def _summed(tables: Iterable[Tensor], matrices: Matrices) -> Tensor:
    """(rows, columns): the first table over the ratings, plus the second times their centred stars."""
    total: Tensor | None = None
    for table, (matrix, transposed) in zip(tables, matrices, strict=False):
        product: Tensor = _Product.apply(table, matrix, transposed)  # type: ignore[no-untyped-call]
        total = product if total is None else total + product
    assert total is not None
    return total


def _sparse(matrix: sparse.csr_matrix, device: torch.device) -> Tensor:
    return _csr(matrix.indptr, matrix.indices, matrix.data, matrix.shape, device)


def _csr(
    ends: IntArray, columns: IntArray, values: FloatArray, shape: tuple[int, int], device: torch.device
) -> Tensor:
    # 32-bit indices: three times as fast as 64-bit ones in MKL (measured, ML-1M, 32 columns).
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "CSR support is in beta"
        return torch.sparse_csr_tensor(
            torch.from_numpy(ends.astype(np.int32, copy=False)),
            torch.from_numpy(columns.astype(np.int32, copy=False)),
            torch.from_numpy(values.astype(np.float32, copy=False)),
            size=shape,
            device=device,
            check_invariants=False,
        )


def newest(rows: np.ndarray[Any, Any], times: np.ndarray[Any, Any] | None, limit: int) -> BoolArray:
    """Selects the newest ratings of each row.

    Args:
        rows: (n,) of the ratings.
        times: (n,) Unix seconds; None: in their order.
        limit: Ratings of a row; 0 for all.

    Returns:
        (n,) whether a rating is selected.
    """
    if limit == 0:
        return np.ones(len(rows), dtype=np.bool_)
    order = np.lexsort((times if times is not None else np.arange(len(rows)), rows))
    ends = np.cumsum(np.bincount(rows))
    newer = ends[rows[order]] - 1 - np.arange(len(rows))
    keep = np.empty(len(rows), dtype=np.bool_)
    keep[order] = newer < limit
    return keep


class SideHistory(nn.Module):
    """Histories of the users, or of the items, as sums over tables of the other side."""

    def __init__(
        self,
        ratings: Ratings,
        *,
        flipped: bool,
        kind: HistoryKind,
        width: int,
        centre: float,
        limit: int,
        scale: float,
        device: torch.device,
        heads: int = 1,
        whole_gradients: bool = True,
    ) -> None:
        """
        Args:
            ratings: The training slice.
            flipped: True for the histories of items.
            kind: Of history, but "none".
            width: Of the sums.
            centre: Subtracted from stars.
            limit: Newest ratings of a row, at most; 0 for all.
            scale: Standard deviation of the initial tables.
            device: Of the matrices.
            heads: Of the attention, which share ``width`` evenly.
            whole_gradients: False where training uses ``batch_sums`` alone, which needs no transposes.
        """
        super().__init__()
        self._whole_gradients = whole_gradients
        rows, columns = (ratings.items, ratings.users) if flipped else (ratings.users, ratings.items)
        counts = (ratings.user_count, ratings.item_count)
        shape = counts[::-1] if flipped else counts
        self.kept = newest(rows, ratings.times, limit)
        self.shape = shape
        index = (rows[self.kept], columns[self.kept])
        ones = sparse.csr_matrix((np.ones(len(index[0]), np.float32), index), shape=shape)
        self.matrices = [self._prepared(ones, device)]
        self.tables = nn.ParameterList([nn.Parameter(torch.randn(shape[1], width) * scale)])
        if kind != "implicit":
            values = sparse.csr_matrix((ratings.values[self.kept] - np.float32(centre), index), shape=shape)
            self.matrices.append(self._prepared(values, device))
            self.tables.append(nn.Parameter(torch.randn(shape[1], width) * scale))
        self.attention = Attention(shape[1], heads=heads, width=width) if kind == "attended" else None
        self.count = torch.from_numpy(np.bincount(index[0], minlength=shape[0]).astype(np.float32)).to(device)

    def sums(self) -> Tensor:
        """(rows, width) sums over full histories, for ``pooled``; (rows, width + heads) of attended ones."""
        return self._weighted_sums(self.matrices)

    def batch_sums(self, batch: BatchMatrix) -> BatchSums:
        """Sums of the rows of a batch, from ``RowRatings.batch``."""
        device = self.count.device
        shape = (len(batch.ends) - 1, self.shape[1])
        matrices = [
            (
                _csr(batch.ends, batch.columns, forward, shape, device),
                _csr(batch.column_ends, batch.rows, backward, shape[::-1], device),
            )
            for forward, backward in (
                (np.ones_like(batch.values), np.ones_like(batch.row_values)),
                (batch.values, batch.row_values),
            )[: len(self.tables)]
        ]
        index, kept, has_target = (
            torch.from_numpy(array).to(device) for array in (batch.index, batch.kept, batch.has_target)
        )
        return BatchSums(self._weighted_sums(matrices), index, kept, has_target)

    def _prepared(self, matrix: sparse.csr_matrix, device: torch.device) -> tuple[Tensor, Tensor | None]:
        transposed = _sparse(matrix.T.tocsr(), device) if self._whole_gradients else None
        return _sparse(matrix, device), transposed

    def _weighted_sums(self, matrices: Matrices) -> Tensor:
        if self.attention is None:
            return _summed(self.tables, matrices)
        weights = self.attention.weights()
        values = _summed([self.attention.weighted(table, weights) for table in self.tables], matrices)
        return torch.cat([values, _summed([weights.square()], matrices)], dim=1)

    def forward(
        self,
        sums: Tensor | BatchSums,
        rows: Tensor,
        targets: Tensor,
        inside: Tensor | None,
        centred: Tensor | None,
    ) -> Tensor:
        """Histories of pairs, each without the pair's own rating.

        Args:
            sums: Of ``sums`` or ``batch_sums``.
            rows: (batch,) of this side.
            targets: (batch,) rows of the other side.
            inside: (batch,) 1 where the pair is in the history; None: nowhere.
            centred: (batch,) stars minus the centre.

        Returns:
            (batch, width).
        """
        count = self.count[rows]
        total = gather(sums.values, sums.index) if isinstance(sums, BatchSums) else gather(sums, rows)
        summed = sums.has_target if isinstance(sums, BatchSums) else inside
        if summed is not None and inside is not None and centred is not None:
            term = gather(self.tables[0], targets)
            if len(self.tables) > 1:
                term = term + centred[:, None] * gather(self.tables[1], targets)
            if self.attention is not None:
                term = self.attention.term(term, targets)
            total = total - summed[:, None] * term
            count = count - inside
        if isinstance(sums, BatchSums):  # a sample is scaled to all others
            total = total * (count / (sums.kept - sums.has_target).clamp(min=1))[:, None]
        return self.pooled(total, count)

    def pooled(self, sums: Tensor, count: Tensor) -> Tensor:
        """(n, width) from ``sums`` (n, width or width + heads) over ``count`` (n,) ratings."""
        if self.attention is not None:
            return self.attention.pooled(sums)
        return sums * torch.rsqrt(count.clamp(min=1))[:, None]
