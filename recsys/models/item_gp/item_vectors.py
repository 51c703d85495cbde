"""Item vectors of a Gibbs chain, averaged over its samples, as arrays for the process.

Given one sample, a user's score is their prior mean plus a Normal deviation whose covariance between two
items is v_i' inverse(Lambda) v_j, v = (q, 1). Averaged over samples both stay what they are: the prior mean
is linear in the user's features and history, and the covariance is one of more columns, cut to the leading
ones. Posterior doubt about an item's vector so lies in its length instead of being left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.models.bayes_mf.basis import Array
from recsys.models.bayes_mf.sampler import Sampler
from recsys.types import Arrays

BUFFER = 512  # columns gathered before they are cut again


@dataclass(frozen=True)
class ItemVectors:
    """``items`` (items, rank): their products are covariances, stars squared. ``prior`` (items, traits):
    times a user's traits, the prior mean of their rating. Noise variance is the product of ``user_noise``
    (users,) and ``item_noise`` (items,)."""

    items: NDArray[np.float16]
    prior: NDArray[np.float32]
    user_noise: NDArray[np.float32]
    item_noise: NDArray[np.float32]

    def arrays(self) -> Arrays:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def unit(self, counts: NDArray[Any]) -> float:
        """Variance of a user's linear part, stars squared, over items by their ``counts`` (items,)."""
        squares = np.square(self.items.astype(np.float64)).sum(axis=1)
        return max(float(np.average(squares, weights=counts)), 1e-6)

    def beside(self, features: NDArray[np.float32], counts: NDArray[Any], variance: float) -> ItemVectors:
        """With ``features`` (items, columns) as columns more, centred and of ``variance`` over items by
        their ``counts``: items of one kind and time are nearer to each other, and people like whole kinds."""
        centred = features - np.average(features, axis=0, weights=counts)
        size = float(np.average(np.square(centred).sum(axis=1), weights=counts))
        if size == 0:
            return self
        scaled = centred * np.sqrt(variance / size)
        return replace(self, items=np.concatenate([self.items, scaled], axis=1).astype(np.float16))


def traits_of(sampler: Sampler) -> NDArray[np.float32]:
    """(users, traits): 1, then the user's row in each basis of the prior mean."""
    rows = len(sampler.users.vectors)
    parts = [np.ones((rows, 1))] + [basis.left * basis.values for basis in sampler.users.prior.bases]
    return np.concatenate(parts, axis=1).astype(np.float32)


class VectorSums:
    """Sums over samples. ``columns`` (items, at most BUFFER and some) holds the covariances' root."""

    def __init__(self, sampler: Sampler, *, rank: int) -> None:
        users, items = sampler.users, sampler.items
        traits = 1 + sum(len(basis.values) for basis in users.prior.bases)
        self.rank, self.count = rank, 0
        self.columns: Array = np.zeros((len(items.vectors), 0))
        self.prior: Array = np.zeros((len(items.vectors), traits))
        self.user_noise: Array = np.zeros(len(users.vectors))
        self.item_noise: Array = np.zeros(len(items.vectors))

    def add(self, sampler: Sampler) -> None:
        """The chain as it stands."""
        prior, items = sampler.users.prior, sampler.items.vectors
        design = np.concatenate([items[:, :-1], np.ones((len(items), 1))], axis=1)
        # The root's columns r have r r' = inverse(precision).
        root = np.linalg.inv(np.linalg.cholesky(prior.precision)).T
        self.columns = np.concatenate([self.columns, design @ root], axis=1)
        if self.columns.shape[1] > BUFFER:
            self.columns = leading(self.columns, 4 * self.rank)
        maps = np.concatenate([prior.centre[None], *prior.maps])
        self.prior += design @ maps.T
        self.prior[:, 0] += items[:, -1] + sampler.centre
        self.user_noise += 1 / (sampler.precision * sampler.users.precisions.astype(np.float64))
        self.item_noise += 1 / sampler.items.precisions
        self.count += 1

    def mean(self) -> ItemVectors:
        """Raises InputError for ratings so large that half precision cannot hold what they say of items."""
        items = leading(self.columns, self.rank) / np.sqrt(self.count)
        if not np.abs(items).max(initial=0) < np.finfo(np.float16).max:
            raise InputError(
                f"item_gp got items' vectors of up to {np.abs(items).max():.3g}, and keeps at most 65504: "
                "rescale the ratings, to stars say"
            )
        return ItemVectors(
            items=items.astype(np.float16),
            prior=(self.prior / self.count).astype(np.float32),
            user_noise=(self.user_noise / self.count).astype(np.float32),
            item_noise=(self.item_noise / self.count).astype(np.float32),
        )

    def state(self) -> Arrays:
        names = ("columns", "prior", "user_noise", "item_noise")
        return {"count": np.array([self.count])} | {name: getattr(self, name).copy() for name in names}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.count = int(state["count"][0])
        self.columns, self.prior = np.array(state["columns"]), np.array(state["prior"])
        self.user_noise, self.item_noise = np.array(state["user_noise"]), np.array(state["item_noise"])


def leading(columns: Array, rank: int) -> Array:
    """At most ``rank`` columns whose products of rows are closest to those of ``columns`` (rows, n)."""
    width = columns.shape[1]
    if width <= rank:
        return columns
    _, vectors = scipy.linalg.eigh(columns.T @ columns, subset_by_index=(width - rank, width - 1))
    result: Array = columns @ vectors[:, ::-1]
    return result
