"""Training of variational matrix factorisation, r = mean + b_u + b_i + p_u . q_i (Lim & Teh 2007).

An epoch is one sweep over items, then users: each row's Gaussian posterior is exact given the other side's
mean and (diagonal) variance; priors and noise are learnt at every sweep. Averaging over the posterior
replaces early stopping and tuned penalties, and there is no learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.data.ratings import Ratings, weighted_mean
from recsys.data.split import TrainingData
from recsys.models.base import ModelArtifact, NoLatent
from recsys.models.mf.config import MfConfig
from recsys.models.mf.posterior import RowFactors, learn_prior, make_blocks, update
from recsys.seeds import derive_seed
from recsys.types import Arrays

BIAS_PRECISION = 5.0  # initial precision of the prior over biases, per star squared
NOISE_VARIANCE = 0.8  # initial, stars squared


class MfTrainer(NoLatent):
    """Coordinate ascent on the variational bound, on ``device``."""

    def __init__(self, config: MfConfig, data: TrainingData, *, seed: int, device: torch.device) -> None:
        self.config, self.train, self.device = config, data.train, device
        train = data.train
        weights = train.weights
        self._weights = None if weights is None else torch.from_numpy(np.array(weights)).to(device)
        self.mean = weighted_mean(train)
        generator = torch.Generator().manual_seed(derive_seed(seed, "weights"))
        self.users = self._start(train.user_count, generator)
        self.items = self._start(train.item_count, generator)
        self.noise_variance = NOISE_VARIANCE
        users, items = train.users.astype(np.int64), train.items.astype(np.int64)
        self._user_blocks = make_blocks(
            users, items, row_count=train.user_count, other_count=train.item_count, device=device
        )
        self._item_blocks = make_blocks(
            items, users, row_count=train.item_count, other_count=train.user_count, device=device
        )
        self._rows = (torch.from_numpy(users).to(device), torch.from_numpy(items).to(device))
        self._residuals = torch.from_numpy(train.values - np.float32(self.mean)).to(device)

    def _start(self, rows: int, generator: torch.Generator) -> RowFactors:
        config = self.config
        mean = torch.randn(rows, 1 + config.factors, generator=generator) * config.embedding_scale
        mean[:, 0] = 0
        precision = torch.full((1 + config.factors,), config.start_precision)
        precision[0] = BIAS_PRECISION
        variance = torch.full_like(mean, 0.01)
        return RowFactors(mean.to(self.device), variance.to(self.device), precision.to(self.device))

    @property
    def parameters(self) -> int:
        return 1 + self.users.mean.numel() + self.items.mean.numel()

    def train_epoch(self) -> dict[str, float]:
        # Users last: a user folded in later sees the same items, so gets the same posterior.
        precision = 1 / self.noise_variance
        update(self.items, self.users, self._item_blocks, self._residuals, precision, self._weights)
        learn_prior(self.items)
        update(self.users, self.items, self._user_blocks, self._residuals, precision, self._weights)
        learn_prior(self.users)
        squared, variance = self._errors()
        self.noise_variance = squared + variance
        return {"train_loss": squared}

    def _errors(self) -> tuple[float, float]:
        """Mean squared error on train, and the mean posterior variance of a prediction; stars squared."""
        squared = variance = 0.0
        for start in range(0, len(self._residuals), 1_000_000):
            chunk = slice(start, start + 1_000_000)
            users, items = self._rows[0][chunk], self._rows[1][chunk]
            error = self._residuals[chunk] - self._score(users, items)
            p, q = self.users.mean[users, 1:].square(), self.items.mean[items, 1:].square()
            v, w = self.users.variance[users], self.items.variance[items]
            spread = (p * w[:, 1:] + q * v[:, 1:] + v[:, 1:] * w[:, 1:]).sum(dim=1) + v[:, 0] + w[:, 0]
            squared += error.square().sum().item()
            variance += spread.sum().item()
        return squared / len(self._residuals), variance / len(self._residuals)

    def _score(self, users: Tensor, items: Tensor) -> Tensor:
        """(n,) stars above the global mean."""
        p, q = self.users.mean[users], self.items.mean[items]
        return p[:, 0] + q[:, 0] + (p[:, 1:] * q[:, 1:]).sum(dim=1)

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        users, items = (
            torch.from_numpy(rows.astype(np.int64)).to(self.device) for rows in (ratings.users, ratings.items)
        )
        return ratings.scale.clip(self.mean + self._score(users, items).cpu().numpy())

    def state(self) -> Arrays:
        arrays: Arrays = {"noise_variance": np.array([self.noise_variance])}
        for label, side in (("users", self.users), ("items", self.items)):
            for name in ("mean", "variance", "precision"):
                arrays[f"{label}.{name}"] = getattr(side, name).cpu().numpy().copy()
        return arrays

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.noise_variance = float(state["noise_variance"][0])
        for label, side in (("users", self.users), ("items", self.items)):
            for name in ("mean", "variance", "precision"):
                tensor = torch.from_numpy(np.array(state[f"{label}.{name}"])).to(self.device)
                setattr(side, name, tensor)

    def export(self) -> ModelArtifact:
        arrays: Arrays = {
            "user_factors": self.users.mean.cpu().numpy(),
            "item_factors": self.items.mean.cpu().numpy(),
            "item_variance": self.items.variance.cpu().numpy(),
            "user_precision": self.users.precision.cpu().numpy(),
        }
        settings = {**asdict(self.config), "mean": self.mean, "noise_variance": self.noise_variance}
        return ModelArtifact("mf", settings, arrays, self.train.scale)
