"""Gaussian posteriors of all rows: batched normal equations over padded blocks of rows.

Rows with similar numbers of ratings are stacked to one (rows, longest, width) block, so that Gram
matrices, Cholesky factors and solutions are a few large calls instead of a loop over users.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.types import IntArray

# Ratings in a block, padding counted: bounds its memory at 4 x width bytes each.
BLOCK = 400_000


@dataclass(frozen=True)
class RowBlock:
    """Rows with similar numbers of ratings, padded to the longest.

    Attributes:
        rows: (b,) of this side.
        others: (b, longest) rows of the other side, one past the end where padded.
        ratings: (b, longest) indices of the ratings, one past the end where padded.
    """

    rows: Tensor
    others: Tensor
    ratings: Tensor


def make_blocks(
    rows: IntArray, others: IntArray, *, row_count: int, other_count: int, device: torch.device
) -> list[RowBlock]:
    """Groups rows with ratings into blocks of at most ``BLOCK`` entries.

    Args:
        rows: (n,) of this side, one a rating.
        others: (n,) of the other side.
        row_count: Rows of this side.
        other_count: Rows of the other side.
        device: Of the tensors.

    Returns:
        Blocks that hold every row with a rating once, most active first.
    """
    by_row = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=row_count)
    starts = np.concatenate([[0], np.cumsum(counts)])
    active = np.argsort(-counts, kind="stable")
    active = active[counts[active] > 0]
    blocks, first = [], 0
    while first < len(active):
        longest = int(counts[active[first]])
        members = active[first : first + max(1, BLOCK // longest)]
        index = np.arange(longest)[None, :]
        inside = index < counts[members][:, None]
        ratings = by_row[np.where(inside, starts[members][:, None] + index, 0)]
        arrays = (
            members,
            np.where(inside, others[ratings], other_count),
            np.where(inside, ratings, len(rows)),
        )
        blocks.append(RowBlock(*(torch.from_numpy(array.astype(np.int64)).to(device) for array in arrays)))
        first += len(members)
    return blocks


@dataclass
class RowFactors:
    """Posteriors of the users or of the items: a bias, then factors.

    Attributes:
        mean: (rows, 1 + width).
        variance: (rows, 1 + width), the diagonal of the covariance.
        precision: (1 + width,) of the prior.
    """

    mean: Tensor
    variance: Tensor
    precision: Tensor


def _padded(table: Tensor) -> Tensor:
    return torch.cat([table, table.new_zeros(1, table.shape[1])])


def update(
    side: RowFactors,
    other: RowFactors,
    blocks: list[RowBlock],
    residuals: Tensor,
    noise_precision: float,
    weights: Tensor | None = None,
) -> None:
    """Sets ``side`` to its posterior given ``other``; rows without ratings get the prior.

    Args:
        side: Users or items; changed.
        other: The other side. Of its covariance the diagonal is used.
        blocks: Of ``make_blocks`` for ``side``.
        residuals: (n,) ratings minus the global mean, stars.
        noise_precision: Of a rating, per star squared.
        weights: (n,) factors of ``noise_precision``; None for 1.
    """
    design = other.mean.clone()
    design[:, 0] = 1
    uncertainty = other.variance.clone()
    uncertainty[:, 0] = 0
    design, uncertainty = _padded(design), _padded(uncertainty)
    bias = torch.cat([other.mean[:, 0], other.mean.new_zeros(1)])
    residuals = torch.cat([residuals, residuals.new_zeros(1)])
    mean = torch.zeros_like(side.mean)
    variance = (1 / side.precision).expand_as(side.mean).clone()
    for block in blocks:
        x = design[block.others]
        y = residuals[block.ratings] - bias[block.others]
        weighted, variances = x, uncertainty[block.others]
        if weights is not None:
            # Padded rows of x are 0, whatever their weight.
            rating_weights = weights[block.ratings.clamp(max=len(weights) - 1), None]
            weighted, variances = x * rating_weights, variances * rating_weights
        gram = weighted.transpose(1, 2) @ x + torch.diag_embed(variances.sum(dim=1))
        # cholesky() would wait for each block's status; a trial ends on the NaN of a failed one.
        factor, failed = torch.linalg.cholesky_ex(noise_precision * gram + torch.diag(side.precision))
        right = noise_precision * (weighted.transpose(1, 2) @ y[:, :, None])
        solved = torch.cholesky_solve(right, factor)[:, :, 0]
        mean[block.rows] = torch.where(failed[:, None] == 0, solved, torch.nan)
        inverse = torch.cholesky_inverse(factor)
        variance[block.rows] = torch.diagonal(inverse, dim1=1, dim2=2)
    side.mean, side.variance = mean, variance


def learn_prior(side: RowFactors) -> None:
    """Empirical Bayes with automatic relevance determination: unused dimensions shrink away.

    Args:
        side: Whose prior ``precision`` is set from its posteriors.
    """
    side.precision = len(side.mean) / (side.mean.square() + side.variance).sum(dim=0)
