"""Batched Gaussian process regression of all users, in groups with similar numbers of ratings.

Covariances, Cholesky factors and solutions of a group are one call each, on a CPU's threads or on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.models.bayes_mf.row_groups import RowGroup, for_each, group_rows
from recsys.models.item_gp.item_vectors import ItemVectors
from recsys.models.item_gp.process import Kernel

COVARIANCES = {"cpu": 2**24, "cuda": 2**29}  # numbers of a batch's covariances, unless one user has more


def regress_all(
    kernel: Kernel,
    vectors: ItemVectors,
    traits: NDArray[np.float32],
    *,
    users: NDArray[Any],
    items: NDArray[Any],
    values: NDArray[np.float32],
    device: torch.device,
) -> NDArray[np.float32]:
    """``process.regress`` of every user.

    Args:
        kernel: Of all users.
        vectors: Of the items, and the noise.
        traits: (users, traits) of the prior mean.
        users: (n,) rows of the ratings.
        items: (n,) rows of the ratings.
        values: (n,) stars.
        device: Where it is computed.

    Returns:
        (n,) weight of each rating in its user's regression.

    Raises:
        FloatingPointError: A covariance that is not positive definite, or not finite.
    """
    shape = (len(traits), len(vectors.items))
    ratings = group_rows(users.astype(np.int64), items.astype(np.int64), shape, device)
    table, prior = (_padded(array, device) for array in (vectors.items, vectors.prior))
    # Padding has unit variance and a residual of 0, so that its weight is 0.
    item_noise = torch.cat([_tensor(vectors.item_noise, device), torch.zeros(1, device=device)])
    user_traits, user_noise = _tensor(traits, device), _tensor(vectors.user_noise, device)
    stars = ratings.padded(_tensor(values, device))
    weights = torch.zeros(ratings.entries, device=device)

    def regress_group(group: RowGroup) -> None:
        entries, length = slice(group.first, group.last), group.longest
        columns = ratings.columns[entries]
        present = (columns < shape[1]).to(torch.float32).view(-1, length)
        rated = table.index_select(0, columns).view(len(group.rows), length, -1)
        covariance = covariances(kernel, rated)
        covariance *= present[:, :, None]
        covariance *= present[:, None, :]
        noise = item_noise.index_select(0, columns).view(-1, length) * user_noise[group.rows][:, None]
        covariance.diagonal(dim1=1, dim2=2).add_(noise + (1 - present))
        means = (
            prior.index_select(0, columns).view(len(group.rows), length, -1)
            @ user_traits[group.rows][:, :, None]
        )
        residuals = (stars[entries].view(-1, length)[:, :, None] - means) * present[:, :, None]
        root, failed = torch.linalg.cholesky_ex(covariance)
        solved = torch.cholesky_solve(residuals, root)[:, :, 0]
        # A failed factorisation becomes NaN here, which is checked below for all groups together.
        weights[entries] = torch.where(failed[:, None] == 0, solved, torch.nan).view(-1)

    for_each(regress_group, [part for group in ratings.groups for part in _split(group)])
    result = weights[ratings.entry_index].cpu().numpy()
    if not np.isfinite(result).all():
        raise FloatingPointError("the covariances of a user's rated items are not finite, or nearly singular")
    return result


def covariances(kernel: Kernel, rated: Tensor) -> Tensor:
    """``Kernel.covariance`` of a batch of users. Two arrays of that size are in memory at once, not one an
    operation: somebody with 10,000 ratings has 0.4 GB in each.

    Args:
        kernel: Of all users.
        rated: (b, n, rank) vectors of each user's rated items.

    Returns:
        (b, n, n), stars squared.
    """
    linear = rated @ rated.mT
    if kernel.variance == 0:
        return linear
    squares = linear.diagonal(dim1=1, dim2=2)
    distance = squares[:, :, None] + squares[:, None, :]
    distance.sub_(linear, alpha=2).clamp_min_(0).mul_(0.5 / kernel.squared_lengthscale).add_(1)
    return linear.add_(distance.reciprocal_(), alpha=kernel.variance)


def _split(group: RowGroup) -> list[RowGroup]:
    """Parts of a group whose covariances are few enough numbers."""
    most = COVARIANCES["cpu" if group.rows.device.type == "cpu" else "cuda"]
    count, length = max(1, most // group.longest**2), group.longest
    return [
        RowGroup(rows, first := group.first + index * count * length, first + len(rows) * length, length)
        for index, rows in enumerate(group.rows.split(count))
    ]


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.float32)).to(device)


def _padded(array: NDArray[Any], device: torch.device) -> Tensor:
    """``array`` with a row of zeros at the end."""
    table = _tensor(array, device)
    return torch.cat([table, table.new_zeros(1, table.shape[1])])
