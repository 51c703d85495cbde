"""A half step of implicit ALS: every row's normal equations, rows of like length in one product and Cholesky.

On a CPU's threads or on a graphics card alike; nothing but the finished factors leaves the device.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from torch import Tensor
from torch.nn.functional import hardshrink

from recsys.models.bayes_mf.row_groups import RowGroup, for_each, group_rows

NEGLIGIBLE = 1e-15  # a strong ridge shrinks factors to subnormal numbers, a hundred times slower to multiply


class AlsRows:
    """The rows of a matrix of weights, prepared once for the half steps of all rounds."""

    def __init__(self, weighted: sp.csr_matrix, device: torch.device, *, width: int) -> None:
        """
        Args:
            weighted: (rows, columns) weight of every rated pair.
            width: k, of the factors.
            device: where the equations are solved.
        """
        rows = np.repeat(np.arange(weighted.shape[0], dtype=np.int64), np.diff(weighted.indptr))
        self.shape: tuple[int, int] = weighted.shape
        self.device = device
        self.ratings = group_rows(rows, weighted.indices.astype(np.int64), self.shape, device, width=width)
        weights = torch.from_numpy(weighted.data.astype(np.float32, copy=False))
        self.weights = self.ratings.padded(weights.to(device))

    def solve(self, factors: Tensor, *, unobserved: float, ridge: float) -> Tensor:
        """Best factors of the rows for the given ones of the columns.

        Args:
            factors: (columns, k) on the device.
            unobserved: weight of a pair that was not rated.
            ridge: of a row whose ratings weigh w together, divided by w + ``unobserved`` times the
                columns whose factors are not all 0.

        Returns:
            (rows, k), 0 for rows that are empty or whose equations have no single solution.
        """
        width = factors.shape[1]
        gram = unobserved * (factors.T @ factors)
        # A column without ratings has factors of 0: it says nothing, and adds no ridge.
        fixed = ridge * unobserved * factors.any(dim=1).sum()
        padded = torch.cat([factors, factors.new_zeros(1, width)])
        solved = factors.new_zeros(self.shape[0], width)

        def solve_group(group: RowGroup) -> None:
            entries = slice(group.first, group.last)
            gathered = padded.index_select(0, self.ratings.columns[entries]).view(-1, group.longest, width)
            weights = self.weights[entries].view(-1, group.longest, 1)
            pulled = gathered * weights
            systems = pulled.mT @ gathered
            systems += gram
            systems.diagonal(dim1=1, dim2=2).add_(fixed + ridge * weights.sum(dim=1))
            solved[group.rows] = solve_positive(systems, pulled.sum(dim=1))

        for_each(solve_group, self.ratings.groups)
        return hardshrink(solved, NEGLIGIBLE)


def solve_positive(systems: Tensor, right: Tensor) -> Tensor:
    """(b, k) solutions of symmetric ``systems`` (b, k, k), which are used up; 0 where one is not definite."""
    if systems.device.type == "cpu":
        # One LAPACK call a system: torch's batch clears a triangle as well, which takes twice as long.
        squares, sides, solved = systems.numpy(), right.numpy(), torch.zeros_like(right)
        rows = solved.numpy()
        for place, square in enumerate(squares):
            _, row, failed = lapack.sposv(square.T, sides[place], lower=1, overwrite_a=1)
            if not failed:
                rows[place] = row
        return solved
    root, wrong = torch.linalg.cholesky_ex(systems)  # cholesky() would wait for each batch's outcome
    return torch.where(wrong[:, None] == 0, torch.cholesky_solve(right[:, :, None], root)[:, :, 0], 0.0)


def alternate(
    everyone: sp.csr_matrix,
    judged: sp.csr_matrix,
    start: NDArray[np.float32],
    *,
    unobserved: float,
    ridge: float,
    rounds: int,
    device: torch.device,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Alternating half steps, users first.

    Args:
        everyone: (rows, items) weights of all that are fitted on.
        judged: (users, items) weights of the users whose factors are wanted.
        start: (items, k) factors to begin at.
        unobserved: weight of a pair that was not rated.
        ridge: as ``AlsRows.solve`` has it.
        rounds: half steps of each side.
        device: where it is done.

    Returns:
        Factors of the users of ``judged`` and of the items.
    """
    width = start.shape[1]
    dials = {"unobserved": unobserved, "ridge": ridge}
    by_user, by_item = (AlsRows(side, device, width=width) for side in (everyone, everyone.T.tocsr()))
    items = torch.from_numpy(start).to(device)
    for _ in range(rounds):
        items = by_item.solve(by_user.solve(items, **dials), **dials)
    own = by_user if judged is everyone else AlsRows(judged, device, width=width)
    return own.solve(items, **dials).cpu().numpy(), items.cpu().numpy()
