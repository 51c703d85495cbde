"""Training of the item process: an epoch is an even share of the chain's sweeps, then every regression."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.models.base import ModelArtifact, NoLatent, sampled_train_loss, with_prefix, without_prefix
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.sampler import Sampler
from recsys.models.item_gp.all_users import regress_all
from recsys.models.item_gp.config import ItemGpConfig
from recsys.models.item_gp.item_vectors import ItemVectors, VectorSums, prior_traits
from recsys.models.item_gp.process import LONGEST, Kernel
from recsys.threads import one_blas_thread
from recsys.types import Arrays, IntArray, JsonObject


@dataclass(frozen=True)
class FittedProcess:
    """Item vectors, kernel and the regression ``weights`` (n,) of all users' ratings, sorted by user."""

    vectors: ItemVectors
    kernel: Kernel
    weights: NDArray[np.float32]


class ItemGpTrainer(NoLatent):
    """A Gibbs chain, then a regression for each user, on ``device``. The vectors are the chain's last state
    until the burn-in is over, then the mean over its samples."""

    def __init__(
        self, config: ItemGpConfig, data: TrainingData, *, epochs: int, seed: int, device: object = None
    ) -> None:
        self.config, self.train, self.features = config, data.train, data.item_features
        sampled = BayesMfConfig(
            factors=config.factors,
            output="gaussian",
            user_history=config.history,
            item_history=config.history,
            history_rank=config.history_rank,
            side_features=config.side_features,
        )
        torch_device = device if isinstance(device, torch.device) else None
        self.sampler = Sampler(sampled, data, seed=seed, device=torch_device)
        self.sums = VectorSums(self.sampler, rank=config.rank)
        self.traits = prior_traits(self.sampler)
        self.sweeps_an_epoch = max(1, math.ceil(config.sweeps / max(epochs, 1)))
        self.done = 0
        self.order, self.starts = newest_by_user(data.train)
        self._fitted: FittedProcess | None = None

    @property
    def parameters(self) -> int:
        """Of item vectors, prior means and a weight for each rating."""
        rows = self.train.user_count + self.train.item_count
        return self.train.item_count * self.config.rank + self.sums.prior.size + rows + len(self.order)

    def train_epoch(self) -> dict[str, float]:
        burn_in = math.floor(self.config.sweeps * self.config.burn_in)
        for _ in range(self.sweeps_an_epoch):
            self.sampler.sweep()
            self.done += 1
            if self.done > burn_in:
                self.sums.add(self.sampler)
        self._fitted = None
        return sampled_train_loss(self, self.train)

    def fitted(self) -> FittedProcess:
        """All users' regressions on the vectors as they are, computed once an epoch."""
        if self._fitted is None:
            sums = self.sums
            if sums.count == 0:
                sums = VectorSums(self.sampler, rank=self.config.rank)
                sums.add(self.sampler)
            vectors, config, counts = sums.mean(), self.config, self.sampler.items.counts
            unit = vectors.unit(counts)
            if config.features > 0 and self.features is not None:
                vectors = vectors.with_features(self.features, counts, config.features * unit)
            kernel = Kernel(variance=config.smooth * unit, squared_lengthscale=config.length * unit)
            self._fitted = self._regress(vectors, kernel)
        return self._fitted

    def _regress(self, vectors: ItemVectors, kernel: Kernel) -> FittedProcess:
        train, ratings = self.train, self.order
        weights = regress_all(
            kernel,
            vectors,
            self.traits,
            users=train.users[ratings],
            items=train.items[ratings],
            values=train.values[ratings],
            device=self.sampler.device,
        )
        return FittedProcess(vectors, kernel, weights)

    @one_blas_thread()
    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        fitted, train = self.fitted(), self.train
        vectors = fitted.vectors.items.astype(np.float32)
        stars = np.zeros(len(ratings), dtype=np.float32)
        by_user = np.argsort(ratings.users, kind="stable")
        ends = np.searchsorted(ratings.users[by_user], np.arange(train.user_count + 1))
        for user in np.unique(ratings.users):
            rows = by_user[ends[user] : ends[user + 1]]
            items, own = ratings.items[rows], slice(self.starts[user], self.starts[user + 1])
            rated = train.items[self.order[own]]
            covariance = fitted.kernel.covariance(vectors[items], vectors[rated])
            prior = fitted.vectors.prior[items] @ self.traits[user]
            stars[rows] = prior + covariance @ fitted.weights[own]
        return ratings.scale.clip(stars)

    def state(self) -> Arrays:
        return {
            "done": np.array([self.done]),
            **with_prefix("chain", self.sampler.state()),
            **with_prefix("sums", self.sums.state()),
        }

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.done, self._fitted = int(state["done"][0]), None
        self.sampler.load_state(without_prefix("chain", state))
        self.sums.load_state(without_prefix("sums", state))

    def export(self) -> ModelArtifact:
        fitted, bases = self.fitted(), self.sampler.users.prior.bases
        history = bases[0] if self.config.history and bases else None
        arrays = fitted.vectors.arrays() | {
            "traits": self.traits,
            "starts": self.starts,
            "rated": self.train.items[self.order],
            "weights": fitted.weights,
        }
        if history is not None:
            arrays["history_basis"] = history.right.astype(np.float32)
        counts = self.sampler.users.counts
        settings: JsonObject = {
            **asdict(self.config),
            "smooth_variance": fitted.kernel.variance,
            "squared_length": fitted.kernel.squared_lengthscale,
            "new_user_noise": float(fitted.vectors.user_noise[counts > 0].mean()),
        }
        return ModelArtifact("item_gp", settings, arrays, self.train.scale)


def newest_by_user(train: Ratings) -> tuple[IntArray, IntArray]:
    """Sorts ratings by user, newest first.

    Args:
        train: The n training ratings; without times the later rows are the newer ones.

    Returns:
        Indices of the ratings, at most ``LONGEST`` of each user, and (users + 1,) where each user's start.
    """
    times = np.arange(len(train)) if train.times is None else train.times
    order = np.lexsort((-times, train.users))
    counts = np.bincount(train.users, minlength=train.user_count)
    index = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.concatenate([[0], np.cumsum(np.minimum(counts, LONGEST))])
    return order[index < LONGEST], starts
