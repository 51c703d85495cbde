"""Item vectors of a Gibbs chain, averaged over its samples, for the Gaussian process.

Given one sample, a user's score is their prior mean plus a Normal deviation whose covariance between two
items is v_i' inverse(Lambda) v_j, v = (q, 1). Averaged over samples both keep their form: the prior mean is
linear in the user's features and history, and the covariance is a product of more columns, truncated to the
leading ones. The posterior uncertainty of an item's vector thus adds to its length.
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

BUFFER = 512  # columns that are collected before a truncation


@dataclass(frozen=True)
class ItemVectors:
    """What the process reads of items, and the noise.

    Attributes:
        items: (items, rank) vectors whose products are covariances, stars squared.
        prior: (items, traits): times a user's traits, the prior mean of a rating, stars.
        user_noise: (users,) factors of the noise variance.
        item_noise: (items,) factors of the noise variance; the product is in stars squared.
    """

    items: NDArray[np.float16]
    prior: NDArray[np.float32]
    user_noise: NDArray[np.float32]
    item_noise: NDArray[np.float32]

    def arrays(self) -> Arrays:
        """By name, as a release packs them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def unit(self, counts: NDArray[Any]) -> float:
        """Variance of the linear kernel, stars squared: mean over items weighted by ``counts`` (items,)."""
        squares = np.square(self.items.astype(np.float64)).sum(axis=1)
        return max(float(np.average(squares, weights=counts)), 1e-6)

    def with_features(
        self, features: NDArray[np.float32], counts: NDArray[Any], variance: float
    ) -> ItemVectors:
        """Adds side features to the vectors, so that items of a genre and time are closer.

        Args:
            features: (items, columns).
            counts: (items,) ratings, which weigh mean and variance.
            variance: That the added columns have together, stars squared.

        Returns:
            The vectors with centred and scaled columns of ``features``.
        """
        centred = features - np.average(features, axis=0, weights=counts)
        size = float(np.average(np.square(centred).sum(axis=1), weights=counts))
        if size == 0:
            return self
        scaled = centred * np.sqrt(variance / size)
        return replace(self, items=np.concatenate([self.items, scaled], axis=1).astype(np.float16))


def prior_traits(sampler: Sampler) -> NDArray[np.float32]:
    """(users, traits) of the prior mean: 1, then the user's row in each basis."""
    rows = len(sampler.users.vectors)
    columns = [np.ones((rows, 1))] + [basis.left * basis.values for basis in sampler.users.prior.bases]
    return np.concatenate(columns, axis=1).astype(np.float32)


class VectorSums:
    """Sums over samples. ``columns`` (items, n) is a square root of the summed covariances."""

    def __init__(self, sampler: Sampler, *, rank: int) -> None:
        users, items = sampler.users, sampler.items
        traits = 1 + sum(len(basis.values) for basis in users.prior.bases)
        self.rank, self.count = rank, 0
        self.columns: Array = np.zeros((len(items.vectors), 0))
        self.prior: Array = np.zeros((len(items.vectors), traits))
        self.user_noise: Array = np.zeros(len(users.vectors))
        self.item_noise: Array = np.zeros(len(items.vectors))

    def add(self, sampler: Sampler) -> None:
        """Adds the chain's current sample."""
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
        """The mean over samples, truncated to ``rank`` columns.

        Raises:
            InputError: Ratings so large that item vectors overflow half precision.
        """
        items = leading(self.columns, self.rank) / np.sqrt(self.count)
        if not np.abs(items).max(initial=0) < np.finfo(np.float16).max:
            raise InputError(
                f"item_gp got item vectors of up to {np.abs(items).max():.3g} and stores at most 65504: "
                "rescale the ratings, for example to stars"
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
    """Low-rank approximation: the columns whose row products are closest to those of ``columns``.

    Args:
        columns: (rows, n).
        rank: Columns to keep, at most.

    Returns:
        (rows, min(n, rank)).
    """
    width = columns.shape[1]
    if width <= rank:
        return columns
    _, vectors = scipy.linalg.eigh(columns.T @ columns, subset_by_index=(width - rank, width - 1))
    result: Array = columns @ vectors[:, ::-1]
    return result
