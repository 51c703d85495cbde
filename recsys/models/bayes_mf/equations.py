"""Draws from the Normal conditionals of a group of rows: a batched product, Cholesky factorisation and solve.

The targets are the last column of the design, so that a row's Gram matrix also holds its right-hand side, and
the last row of its Cholesky factor is the half-solved system (the bordered factorisation of least squares).
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw(
    design: Tensor, weight: Tensor, mean: Tensor, precision: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Conditional means and a draw for each row.

    Args:
        design: (b, longest, width + 1) x and, last, its target, both times the root of the rating's weight;
            0 where padded.
        weight: (b,) factor of all of a row's ratings.
        mean: (b, width) of the Normal prior.
        precision: (width, width) of the prior.
        noise: (b, width) standard normal numbers.

    Returns:
        Means and draws, (b, width) each; NaN for a row whose system is not positive definite.
    """
    width = mean.shape[1]
    # Everything is divided by the row's weight, so that only the prior has to be scaled.
    variance = weight.reciprocal()
    right = mean @ precision
    gram = torch.nn.functional.pad(precision, (0, 1, 0, 1)) * variance[:, None, None]
    gram[:, width, :width] = right * variance[:, None]
    gram[:, width, width] = (right * mean).sum(dim=1) * variance
    gram.baddbmm_(design.mT, design)
    # Any corner that keeps the matrix positive definite will do: nothing reads the factor's last entry.
    gram[:, width, width].mul_(1.001).add_(variance)
    # Not cholesky(), which waits for each group's status: the caller checks all groups for NaN at once.
    root, failed = torch.linalg.cholesky_ex(gram)
    invalid = torch.where(failed == 0, 0.0, torch.nan)
    targets = gram.new_empty(len(gram), width + 1, 2)
    targets[:, :width] = (root[:, width, :width] + invalid[:, None])[:, :, None]
    targets[:, :width, 1] += noise * variance.sqrt()[:, None]
    # With a last unknown of 0 the whole factor solves for the vectors alone, and no block is copied.
    targets[:, width] = 0
    solved = torch.linalg.solve_triangular(root.mT, targets, upper=True)
    return solved[:, :width, 0], solved[:, :width, 1]
