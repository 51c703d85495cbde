"""Training of the item process: an epoch is an even part of the chain's sweeps; users are solved after it."""

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
from recsys.models.base import TRAIN_SAMPLE, ModelArtifact, NoLatent
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.sampler import Sampler
from recsys.models.item_gp.all_users import regress_all
from recsys.models.item_gp.config import ItemGpConfig
from recsys.models.item_gp.item_vectors import ItemVectors, VectorSums, traits_of
from recsys.models.item_gp.process import LONGEST, Kernel
from recsys.threads import one_blas_thread
from recsys.types import Arrays, IntArray, JsonObject


@dataclass(frozen=True)
class Solved:
    """Vectors, kernel and every user's ``weights`` (n,) of their rated items, in the order of ``rated``."""

    vectors: ItemVectors
    kernel: Kernel
    weights: NDArray[np.float32]


class ItemGpTrainer(NoLatent):
    """One chain, and a regression a user, on ``device``. Until the burn-in is over, the vectors are those
    of the chain's last state; from then on the mean over its samples."""

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
        on = device if isinstance(device, torch.device) else None
        self.sampler = Sampler(sampled, data, seed=seed, device=on)
        self.sums = VectorSums(self.sampler, rank=config.rank)
        self.traits = traits_of(self.sampler)
        self.sweeps_an_epoch = max(1, math.ceil(config.sweeps / max(epochs, 1)))
        self.done = 0
        self.order, self.starts = newest_by_user(data.train)
        self._solved: Solved | None = None

    @property
    def parameters(self) -> int:
        """Vectors, prior means and a weight a rating."""
        rows = self.train.user_count + self.train.item_count
        return self.train.item_count * self.config.rank + self.sums.prior.size + rows + len(self.order)

    def train_epoch(self) -> dict[str, float]:
        burn_in = math.floor(self.config.sweeps * self.config.burn_in)
        for _ in range(self.sweeps_an_epoch):
            self.sampler.sweep()
            self.done += 1
            if self.done > burn_in:
                self.sums.add(self.sampler)
        self._solved = None
        sample = self.train.thinned(TRAIN_SAMPLE)
        error = self.predict(sample) - sample.values
        return {"train_loss": float(np.square(error).mean())}

    def solved(self) -> Solved:
        if self._solved is None:
            sums = self.sums
            if sums.count == 0:
                sums = VectorSums(self.sampler, rank=self.config.rank)
                sums.add(self.sampler)
            vectors, config, counts = sums.mean(), self.config, self.sampler.items.counts
            unit = vectors.unit(counts)
            if config.features > 0 and self.features is not None:
                vectors = vectors.beside(self.features, counts, config.features * unit)
            kernel = Kernel(smooth=config.smooth * unit, length=config.length * unit)
            self._solved = solve(vectors, kernel, self)
        return self._solved

    @one_blas_thread()
    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        solved, train = self.solved(), self.train
        vectors = solved.vectors.items.astype(np.float32)
        stars = np.zeros(len(ratings), dtype=np.float32)
        by_user = np.argsort(ratings.users, kind="stable")
        ends = np.searchsorted(ratings.users[by_user], np.arange(train.user_count + 1))
        for user in np.unique(ratings.users):
            rows = by_user[ends[user] : ends[user + 1]]
            items, part = ratings.items[rows], slice(self.starts[user], self.starts[user + 1])
            rated = train.items[self.order[part]]
            covariance = solved.kernel.between(vectors[items], vectors[rated])
            stars[rows] = solved.vectors.prior[items] @ self.traits[user] + covariance @ solved.weights[part]
        return np.clip(stars, ratings.scale.low, ratings.scale.high)

    def state(self) -> Arrays:
        arrays: Arrays = {"done": np.array([self.done])}
        arrays |= {f"chain/{name}": array for name, array in self.sampler.state().items()}
        return arrays | {f"sums/{name}": array for name, array in self.sums.state().items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        def under(mark: str) -> Arrays:
            return {key[len(mark) :]: np.array(array) for key, array in state.items() if key.startswith(mark)}

        self.done, self._solved = int(state["done"][0]), None
        self.sampler.load_state(under("chain/"))
        self.sums.load_state(under("sums/"))

    def export(self) -> ModelArtifact:
        solved, bases = self.solved(), self.sampler.users.prior.bases
        history = bases[0] if self.config.history and bases else None
        arrays = solved.vectors.arrays() | {
            "traits": self.traits,
            "starts": self.starts,
            "rated": self.train.items[self.order],
            "weights": solved.weights,
        }
        if history is not None:
            arrays["history_basis"] = history.right.astype(np.float32)
        counts = self.sampler.users.counts
        settings: JsonObject = {
            **asdict(self.config),
            "smooth_variance": solved.kernel.smooth,
            "squared_length": solved.kernel.length,
            "new_user_noise": float(solved.vectors.user_noise[counts > 0].mean()),
        }
        return ModelArtifact("item_gp", settings, arrays, self.train.scale)


def newest_by_user(train: Ratings) -> tuple[IntArray, IntArray]:
    """Rating numbers sorted by user, at most ``LONGEST`` of each, the newest; and where each user's start."""
    times = np.arange(len(train)) if train.times is None else train.times
    order = np.lexsort((-times, train.users))
    counts = np.bincount(train.users, minlength=train.user_count)
    index = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.concatenate([[0], np.cumsum(np.minimum(counts, LONGEST))])
    return order[index < LONGEST], starts


def solve(vectors: ItemVectors, kernel: Kernel, trainer: ItemGpTrainer) -> Solved:
    """Every user's regression on their own ratings."""
    train, ratings = trainer.train, trainer.order
    weights = regress_all(
        kernel,
        vectors,
        trainer.traits,
        users=train.users[ratings],
        items=train.items[ratings],
        values=train.values[ratings],
        device=trainer.sampler.device,
    )
    return Solved(vectors, kernel, weights)
