"""Every user's Gaussian process at once: the regression of ``process.py`` by users of like counts.

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
    """(n,) weights of every rating in its user's regression, as ``process.regress`` gives them one by one.

    ``traits`` (users, traits); ``users``, ``items``, ``values`` (n,) of the ratings. Raises
    FloatingPointError where arrays have gone bad."""
    shape = (len(traits), len(vectors.items))
    ratings = group_rows(users.astype(np.int64), items.astype(np.int64), shape, device)
    table, prior = (_padded(array, device) for array in (vectors.items, vectors.prior))
    # Padding: a unit variance and nothing to explain leave the weight 0.
    item_noise = torch.cat([_tensor(vectors.item_noise, device), torch.zeros(1, device=device)])
    of_users, user_noise = _tensor(traits, device), _tensor(vectors.user_noise, device)
    stars = ratings.spread(_tensor(values, device))
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
            @ of_users[group.rows][:, :, None]
        )
        beyond = (stars[entries].view(-1, length)[:, :, None] - means) * present[:, :, None]
        root, failed = torch.linalg.cholesky_ex(covariance)
        solved = torch.cholesky_solve(beyond, root)[:, :, 0]
        # What LAPACK could not factor is marked here, and found below for all groups at once.
        weights[entries] = torch.where(failed[:, None] == 0, solved, torch.nan).view(-1)

    for_each(regress_group, ratings.groups)
    result = weights[ratings.place].cpu().numpy()
    if not np.isfinite(result).all():
        raise FloatingPointError("the covariances of some user's rated items are not numbers, or too alike")
    return result


def covariances(kernel: Kernel, rated: Tensor) -> Tensor:
    """(b, n, n) of each user's ``rated`` vectors (b, n, rank), as ``Kernel.between`` has them."""
    linear = rated @ rated.mT
    if kernel.smooth == 0:
        return linear
    squares = linear.diagonal(dim1=1, dim2=2)
    distance = squares[:, :, None] + squares[:, None, :] - 2 * linear
    linear += kernel.smooth / distance.clamp_min_(0).mul_(0.5 / kernel.length).add_(1)
    return linear


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(array.astype(np.float32)).to(device)


def _padded(array: NDArray[Any], device: torch.device) -> Tensor:
    """With a row of zeros at the end."""
    table = _tensor(array, device)
    return torch.cat([table, table.new_zeros(1, table.shape[1])])
