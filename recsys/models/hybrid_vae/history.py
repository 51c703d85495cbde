"""What a user rated says who they are; who rated an item says what it is (SVD++, Koren 2008, flipped too).

h_u = sum over j in N(u) without i of (Y_j + (r_uj - centre) W_j) / sqrt(|N(u)| - 1), and g_i the same with
users for items. The target's own rating is taken out, or the model reads the answer from its input
(measured: training error collapses, validation does not move); the centre is one constant, since a
user's own mean would hold the target again. Sums over whole histories are sparse products, so that one
step costs the ratings once, not once for each pair of the batch. ``attended`` weighs them (``attention.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from torch import Tensor, nn

from recsys.data.ratings import Ratings
from recsys.models.hybrid_vae.attention import Attention
from recsys.models.hybrid_vae.config import HistoryKind
from recsys.models.hybrid_vae.gather import gather
from recsys.types import BoolArray


@dataclass(frozen=True)
class Pairs:
    """User-item pairs on a device. ``centred`` (n,) stars minus the centre; ``in_user`` and ``in_item``
    (n,) 1 where the pair is part of the user's, of the item's history, else 0; ``left_out`` (n,) what the
    start's link changes by once the pair's own rating is left out; ``user_level`` and ``item_level`` (n,)
    the bins of ``levels.py``; None for a model without."""

    users: Tensor
    items: Tensor
    centred: Tensor | None = None
    in_user: Tensor | None = None
    in_item: Tensor | None = None
    left_out: Tensor | None = None
    user_level: Tensor | None = None
    item_level: Tensor | None = None

    def take(self, rows: Tensor) -> Pairs:
        parts = vars(self).values()
        return Pairs(*(None if part is None else part[rows] for part in parts))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.users)


class _Product(torch.autograd.Function):
    """``matrix @ table`` for a constant sparse matrix whose transpose is at hand."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed @ gradients[0].contiguous(), None, None


def _sparse(matrix: sparse.csr_matrix, device: torch.device) -> Tensor:
    # 32-bit indices: three times as fast as 64-bit ones in MKL (measured, ML-1M, 32 columns).
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "CSR support is in beta"
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            device=device,
            check_invariants=False,
        )


def newest(rows: np.ndarray[Any, Any], times: np.ndarray[Any, Any] | None, limit: int) -> BoolArray:
    """(n,) whether a rating is among the ``limit`` newest of its row; 0 keeps all."""
    if limit == 0:
        return np.ones(len(rows), dtype=np.bool_)
    order = np.lexsort((times if times is not None else np.arange(len(rows)), rows))
    ends = np.cumsum(np.bincount(rows))
    behind = ends[rows[order]] - 1 - np.arange(len(rows))
    keep = np.empty(len(rows), dtype=np.bool_)
    keep[order] = behind < limit
    return keep


class SideHistory(nn.Module):
    """The histories of one side (users, say) as sums over tables of the other side."""

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
    ) -> None:
        """``heads`` of the attention, where ``kind`` has one; they share ``width`` evenly."""
        super().__init__()
        rows, columns = (ratings.items, ratings.users) if flipped else (ratings.users, ratings.items)
        counts = (ratings.user_count, ratings.item_count)
        shape = counts[::-1] if flipped else counts
        self.kept = newest(rows, ratings.times, limit)
        index = (rows[self.kept], columns[self.kept])
        ones = sparse.csr_matrix((np.ones(len(index[0]), np.float32), index), shape=shape)
        self.matrices = [(_sparse(ones, device), _sparse(ones.T.tocsr(), device))]
        self.tables = nn.ParameterList([nn.Parameter(torch.randn(shape[1], width) * scale)])
        if kind != "implicit":
            values = sparse.csr_matrix((ratings.values[self.kept] - np.float32(centre), index), shape=shape)
            self.matrices.append((_sparse(values, device), _sparse(values.T.tocsr(), device)))
            self.tables.append(nn.Parameter(torch.randn(shape[1], width) * scale))
        self.attention = Attention(shape[1], heads=heads, width=width) if kind == "attended" else None
        self.count = torch.from_numpy(np.bincount(index[0], minlength=shape[0]).astype(np.float32)).to(device)

    def sums(self) -> Tensor:
        """(rows, width) sums over whole histories, as ``pooled`` takes them; (rows, width + heads) of an
        attended history."""
        if self.attention is None:
            return self._summed(self.tables)
        weights = self.attention.weights()
        values = self._summed([self.attention.by(table, weights) for table in self.tables])
        return torch.cat([values, self._summed([weights.square()])], dim=1)

    def _summed(self, tables: Iterable[Tensor]) -> Tensor:
        """(rows, columns): the first table over the ratings, plus the second times their centred stars."""
        total: Tensor | None = None
        for table, (matrix, transposed) in zip(tables, self.matrices, strict=False):
            part: Tensor = _Product.apply(table, matrix, transposed)  # type: ignore[no-untyped-call]
            total = part if total is None else total + part
        assert total is not None
        return total

    def forward(
        self, sums: Tensor, rows: Tensor, targets: Tensor, inside: Tensor | None, centred: Tensor | None
    ) -> Tensor:
        """(batch, width) for the pairs (``rows``, ``targets``), the target left out where ``inside`` is 1."""
        total, count = gather(sums, rows), self.count[rows]
        if inside is not None and centred is not None:
            own = gather(self.tables[0], targets)
            if len(self.tables) > 1:
                own = own + centred[:, None] * gather(self.tables[1], targets)
            if self.attention is not None:
                own = self.attention.term(own, targets)
            total = total - inside[:, None] * own
            count = count - inside
        return self.pooled(total, count)

    def pooled(self, sums: Tensor, count: Tensor) -> Tensor:
        """(n, width) from ``sums`` over ``count`` (n,) ratings."""
        if self.attention is not None:
            return self.attention.pooled(sums)
        return sums * torch.rsqrt(count.clamp(min=1))[:, None]
