"""Draws from the Normal conditionals of a group of rows: one product, Cholesky and solve for all.

The targets are one more column of the design, so that a row's Gram matrix holds its right side too, and the
last row of its Cholesky factor is the half solved system (the bordered factorisation of least squares).
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw(
    design: Tensor, weight: Tensor, mean: Tensor, precision: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Conditional means and one draw, both (b, width).

    ``design`` (b, longest, width + 1) holds x and, last, its target, both times the root of the rating's
    weight, 0 where padded; ``weight`` (b,) multiplies the row's ratings; the prior is Normal with ``mean``
    (b, width) and ``precision`` (width, width); ``noise`` (b, width) is standard normal. Rows whose system
    is not positive definite are NaN.
    """
    width = mean.shape[1]
    # Everything is divided by the row's weight, so that the prior is all that has to be scaled.
    variance = weight.reciprocal()
    pull = mean @ precision
    gram = torch.nn.functional.pad(precision, (0, 1, 0, 1)) * variance[:, None, None]
    gram[:, width, :width] = pull * variance[:, None]
    gram[:, width, width] = (pull * mean).sum(dim=1) * variance
    gram.baddbmm_(design.mT, design)
    # Any corner that keeps the matrix positive definite will do: nothing reads the factor's last entry.
    gram[:, width, width].mul_(1.001).add_(variance)
    # Not cholesky(), which waits for each group's outcome: the caller finds the NaN of all groups at once.
    root, failed = torch.linalg.cholesky_ex(gram)
    invalid = torch.where(failed == 0, 0.0, torch.nan)
    both = gram.new_empty(len(gram), width + 1, 2)
    both[:, :width] = (root[:, width, :width] + invalid[:, None])[:, :, None]
    both[:, :width, 1] += noise * variance.sqrt()[:, None]
    # With a last unknown of 0 the system of the whole factor is the vectors' own, and no block is copied.
    both[:, width] = 0
    solved = torch.linalg.solve_triangular(root.mT, both, upper=True)
    return solved[:, :width, 0], solved[:, :width, 1]
