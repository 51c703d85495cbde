"""Gaussian posteriors of every row at once: batched normal equations over padded groups.

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
    """``rows`` (b,); ``others`` (b, longest) rows of the other side and ``ratings`` (b, longest) rating
    numbers, both one past the end where padded."""

    rows: Tensor
    others: Tensor
    ratings: Tensor


def make_blocks(
    rows: IntArray, others: IntArray, *, row_count: int, other_count: int, device: torch.device
) -> list[RowBlock]:
    """Every row with a rating in exactly one block, most active first."""
    by_row = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=row_count)
    starts = np.concatenate([[0], np.cumsum(counts)])
    active = np.argsort(-counts, kind="stable")
    active = active[counts[active] > 0]
    blocks, at = [], 0
    while at < len(active):
        longest = int(counts[active[at]])
        chosen = active[at : at + max(1, BLOCK // longest)]
        index = np.arange(longest)[None, :]
        inside = index < counts[chosen][:, None]
        ratings = by_row[np.where(inside, starts[chosen][:, None] + index, 0)]
        parts = (
            chosen,
            np.where(inside, others[ratings], other_count),
            np.where(inside, ratings, len(rows)),
        )
        blocks.append(RowBlock(*(torch.from_numpy(part.astype(np.int64)).to(device) for part in parts)))
        at += len(chosen)
    return blocks


@dataclass
class RowFactors:
    """One side's posteriors, (rows, 1 + width): bias first, then factors. ``precision`` (1 + width,) is
    the prior's."""

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
    """Sets ``side`` to its posterior given ``other``; rows without ratings go to the prior.

    ``residuals`` (n,) is rating minus overall mean; ``weights`` (n,) multiply ``noise_precision``. Of the
    other side's covariance the diagonal is used.
    """
    design = other.mean.clone()
    design[:, 0] = 1
    doubt = other.variance.clone()
    doubt[:, 0] = 0
    design, doubt = _padded(design), _padded(doubt)
    bias = torch.cat([other.mean[:, 0], other.mean.new_zeros(1)])
    residuals = torch.cat([residuals, residuals.new_zeros(1)])
    mean = torch.zeros_like(side.mean)
    variance = (1 / side.precision).expand_as(side.mean).clone()
    for block in blocks:
        x = design[block.others]
        y = residuals[block.ratings] - bias[block.others]
        weighted, unsure = x, doubt[block.others]
        if weights is not None:
            rating_weights = weights[
                block.ratings.clamp(max=len(weights) - 1), None
            ]  # padded rows of x are 0
            weighted, unsure = x * rating_weights, unsure * rating_weights
        gram = weighted.transpose(1, 2) @ x + torch.diag_embed(unsure.sum(dim=1))
        # cholesky() would wait for each block's outcome; a trial ends on the NaN that a failed one leaves.
        factor, failed = torch.linalg.cholesky_ex(noise_precision * gram + torch.diag(side.precision))
        pull = noise_precision * (weighted.transpose(1, 2) @ y[:, :, None])
        solved = torch.cholesky_solve(pull, factor)[:, :, 0]
        mean[block.rows] = torch.where(failed[:, None] == 0, solved, torch.nan)
        inverse = torch.cholesky_inverse(factor)
        variance[block.rows] = torch.diagonal(inverse, dim1=1, dim2=2)
    side.mean, side.variance = mean, variance


def learn_prior(side: RowFactors) -> None:
    """Empirical Bayes: each dimension's precision from the posteriors (ARD: unused ones shrink away)."""
    side.precision = len(side.mean) / (side.mean.square() + side.variance).sum(dim=0)
