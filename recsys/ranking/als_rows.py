"""Half steps of implicit ALS: batched normal equations of rows with similar numbers of ratings.

On a CPU's threads or on a GPU; only the final factors leave the device.
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
    """The rows of a weight matrix, grouped once for the half steps of all rounds."""

    def __init__(self, weighted: sp.csr_matrix, device: torch.device, *, width: int) -> None:
        """
        Args:
            weighted: (rows, columns) weight of every rated pair.
            device: Where the equations are solved.
            width: k, of the factors.
        """
        rows = np.repeat(np.arange(weighted.shape[0], dtype=np.int64), np.diff(weighted.indptr))
        self.shape: tuple[int, int] = weighted.shape
        self.device = device
        self.ratings = group_rows(rows, weighted.indices.astype(np.int64), self.shape, device, width=width)
        weights = torch.from_numpy(weighted.data.astype(np.float32, copy=False))
        self.weights = self.ratings.padded(weights.to(device))

    def solve(self, factors: Tensor, *, unobserved: float, ridge: float) -> Tensor:
        """Least-squares factors of the rows, given the columns'.

        Args:
            factors: (columns, k) on the device.
            unobserved: Weight of an unrated pair.
            ridge: Of a row with ratings of total weight w, divided by w + ``unobserved`` times the columns
                whose factors are not all 0.

        Returns:
            (rows, k), 0 for rows that are empty or whose system is singular.
        """
        width = factors.shape[1]
        gram = unobserved * (factors.T @ factors)
        # A column without ratings has factors of 0 and adds no ridge.
        fixed = ridge * unobserved * factors.any(dim=1).sum()
        padded = torch.cat([factors, factors.new_zeros(1, width)])
        solved = factors.new_zeros(self.shape[0], width)

        def solve_group(group: RowGroup) -> None:
            entries = slice(group.first, group.last)
            gathered = padded.index_select(0, self.ratings.columns[entries]).view(-1, group.longest, width)
            weights = self.weights[entries].view(-1, group.longest, 1)
            weighted = gathered * weights
            systems = weighted.mT @ gathered
            systems += gram
            systems.diagonal(dim1=1, dim2=2).add_(fixed + ridge * weights.sum(dim=1))
            solved[group.rows] = solve_positive_definite(systems, weighted.sum(dim=1))

        for_each(solve_group, self.ratings.groups)
        return hardshrink(solved, NEGLIGIBLE)


def solve_positive_definite(systems: Tensor, right: Tensor) -> Tensor:
    """Solves a batch of systems by Cholesky.

    Args:
        systems: (b, k, k) symmetric; overwritten.
        right: (b, k).

    Returns:
        (b, k); 0 for a system that is not positive definite.
    """
    if systems.device.type == "cpu":
        # A LAPACK call for each system: torch's batch also clears a triangle, which is twice as slow.
        solved = torch.zeros_like(right)
        for system, target, row in zip(systems.numpy(), right.numpy(), solved.numpy(), strict=True):
            _, solution, failed = lapack.sposv(system.T, target, lower=1, overwrite_a=1)
            if not failed:
                row[:] = solution
        return solved
    root, failed = torch.linalg.cholesky_ex(systems)  # cholesky() would wait for each batch's status
    return torch.where(failed[:, None] == 0, torch.cholesky_solve(right[:, :, None], root)[:, :, 0], 0.0)


def alternate(
    weighted: sp.csr_matrix,
    returned: sp.csr_matrix,
    start: NDArray[np.float32],
    *,
    unobserved: float,
    ridge: float,
    rounds: int,
    device: torch.device,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Alternating half steps, users first.

    Args:
        weighted: (rows, items) weights that are fitted.
        returned: (users, items) weights of the users whose factors are returned.
        start: (items, k) initial factors.
        unobserved: Weight of an unrated pair.
        ridge: As in ``AlsRows.solve``.
        rounds: Half steps of each side.
        device: Where it is computed.

    Returns:
        Factors of the users of ``returned`` and of the items.
    """
    width = start.shape[1]
    settings = {"unobserved": unobserved, "ridge": ridge}
    by_user, by_item = (AlsRows(side, device, width=width) for side in (weighted, weighted.T.tocsr()))
    items = torch.from_numpy(start).to(device)
    for _ in range(rounds):
        items = by_item.solve(by_user.solve(items, **settings), **settings)
    users = by_user if returned is weighted else AlsRows(returned, device, width=width)
    return users.solve(items, **settings).cpu().numpy(), items.cpu().numpy()
