"""History sums of a batch's rows, so that the cost of a training step is independent of the number of users.

A step needs the histories of at most ``batch`` users and items. Users' are summed exactly. An item may have
been rated by every user: of more than ``SAMPLE`` ratings a random sample is drawn at each step and scaled to
their number (``SideHistory.forward``, which removes a pair's own rating before). Prediction always sums full
histories. For small data full sums are cheaper in training as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from recsys.types import FloatArray, IntArray

SAMPLE = 500  # ratings of an item in a step, at most; 100 cost 0.009 rmse on ML-1M
# Cost of an entry of a batch, whose indices and transpose are built each step, in entries of a full product.
ENTRY_COST = 2.5


@dataclass(frozen=True)
class BatchMatrix:
    """Ratings of a batch's distinct rows, as sparse matrices for the products of a step.

    Attributes:
        ends, columns, values: CSR over the batch's distinct rows; values are centred stars.
        column_ends, rows, row_values: The same ratings by column, for the gradient.
        index: (batch,) index of each pair's row.
        kept: (batch,) ratings that are summed for the pair's row.
        has_target: (batch,) 1.0 where the pair's own rating is among them.
    """

    ends: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    column_ends: NDArray[np.int32]
    rows: NDArray[np.int32]
    row_values: NDArray[np.float32]
    index: NDArray[np.int64]
    kept: NDArray[np.float32]
    has_target: NDArray[np.float32]


class RowRatings:
    """Training ratings by user or by item, a row in random order, so that a block of it is a random sample.

    Immutable; copies share it.
    """

    def __init__(
        self, rows: IntArray, columns: IntArray, values: FloatArray, *, shape: tuple[int, int], seed: int
    ) -> None:
        """
        Args:
            rows: (n,) of the ratings; -1 leaves one out.
            columns: (n,) of the ratings.
            values: (n,) centred stars.
            shape: Number of rows and of columns.
            seed: Of the random order.
        """
        self.shape = shape
        shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(rows >= 0))
        order = shuffled[np.argsort(rows[shuffled], kind="stable")]
        counts = np.bincount(rows[order], minlength=shape[0])
        self.ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.columns = columns[order].astype(np.int32)
        self.values = values[order].astype(np.float32)
        self.positions = np.full(len(rows), -1, dtype=np.int32)  # of each rating in its row
        self.positions[order] = np.arange(len(order)) - self.ends[rows[order]]

    def __deepcopy__(self, memo: dict[int, Any]) -> RowRatings:
        return self

    def batch(
        self, rows: IntArray, pairs: IntArray, *, most: int | None, random: np.random.Generator
    ) -> BatchMatrix:
        """The ratings of a step.

        Args:
            rows: (batch,) row of each pair.
            pairs: (batch,) index of each pair among the ratings given to the constructor.
            most: Ratings of a row at most, drawn at random; None for all.
            random: Of the draw.

        Returns:
            The ratings of the batch's distinct rows.
        """
        distinct, index = np.unique(rows, return_inverse=True)
        starts, counts = self.ends[distinct], np.diff(self.ends)[distinct]
        sizes = counts if most is None else np.minimum(counts, most)
        offsets = np.where(counts > sizes, (random.random(len(distinct)) * counts).astype(np.int64), 0)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(ends[-1]) + np.repeat(offsets - ends[:-1], sizes)
        if most is not None:  # a block that exceeds the row wraps around
            lengths = np.repeat(counts, sizes)
            within -= lengths * (within >= lengths)
        entries = within + np.repeat(starts, sizes)
        columns = self.columns[entries]
        by_row = sparse.csr_matrix(
            (np.arange(len(entries), dtype=np.int32), columns, ends.astype(np.int32)),
            shape=(len(distinct), self.shape[1]),
        )
        by_column = by_row.tocsc()
        values = self.values[entries]
        position, count = self.positions[pairs].astype(np.int64), counts[index]
        inside = (position >= 0) & ((position - offsets[index]) % np.maximum(count, 1) < sizes[index])
        return BatchMatrix(
            ends=ends.astype(np.int32),
            columns=columns,
            values=values,
            column_ends=by_column.indptr.astype(np.int32),
            rows=by_column.indices.astype(np.int32),
            row_values=values[by_column.data],
            index=index.astype(np.int64),
            kept=sizes[index].astype(np.float32),
            has_target=inside.astype(np.float32),
        )


def expected_entries(counts: IntArray, batch: int, most: int | None) -> float:
    """Expected number of ratings in the distinct rows of a batch.

    Args:
        counts: (rows,) kept ratings of each row.
        batch: Pairs of a step.
        most: Ratings of a row at most; None for all.

    Returns:
        Ratings.
    """
    lengths = counts.astype(np.float64)
    sizes = lengths if most is None else np.minimum(lengths, most)
    chances = -np.expm1(batch * np.log1p(-np.minimum(lengths / max(lengths.sum(), 1), 1 - 1e-12)))
    return float((chances * sizes).sum())


def cheaper_by_batch(user_counts: IntArray, item_counts: IntArray, batch: int) -> bool:
    """Whether sums of a batch's rows cost less than full sums.

    Args:
        user_counts: (users,) kept ratings.
        item_counts: (items,) kept ratings.
        batch: Pairs of a step.
    """
    entries = expected_entries(user_counts, batch, None) + expected_entries(item_counts, batch, SAMPLE)
    return bool(ENTRY_COST * entries < user_counts.sum() + item_counts.sum())
