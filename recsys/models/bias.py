"""Baseline predictor: global mean plus regularised item and user biases.

b_i = sum(r - mean) / (lambda_i + n_i), then b_u likewise on the residuals, repeated (Koren 2008, section
2.1, as alternating ridge: a few rounds reach the joint optimum). Deterministic; trains in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt

from recsys.data.ratings import Ratings, weighted_mean
from recsys.data.split import TrainingData
from recsys.models.base import History, ModelArtifact, ModelFamily, NoLatent
from recsys.models.family_config import family_config
from recsys.models.ranges import FloatRange, Range
from recsys.types import Arrays, FloatArray, IntArray


@family_config("bias")
class BiasConfig:
    """``damping`` is the number of ratings that the prior "no bias" weighs as much as; 0 = off."""

    user_damping: NonNegativeFloat = 3.0
    item_damping: NonNegativeFloat = 3.0
    patience: PositiveInt = 3  # epochs without a better valid rmse before the trial stops


def _damped_means(
    residuals: NDArray[np.float64], rows: IntArray, count: int, damping: float, weights: FloatArray | None
) -> FloatArray:
    """(count,) mean residual of each row, shrunk to 0 by ``damping`` ratings."""
    totals = np.bincount(rows, weights=residuals if weights is None else residuals * weights, minlength=count)
    counts = np.bincount(rows, weights=weights, minlength=count)
    means: FloatArray = totals / np.maximum(counts + damping, 1e-9)
    return means


class BiasTrainer(NoLatent):
    """Alternating ridge: an epoch is a round over items, then users."""

    def __init__(
        self, config: BiasConfig, data: TrainingData, *, epochs: int, seed: int, device: object
    ) -> None:
        self.config, self.train = config, data.train
        weights = self.train.weights
        self.weights = None if weights is None else weights.astype(np.float64)
        self.mean = weighted_mean(self.train)
        self.user_bias: FloatArray = np.zeros(self.train.user_count)
        self.item_bias: FloatArray = np.zeros(self.train.item_count)

    @property
    def parameters(self) -> int:
        return 1 + len(self.user_bias) + len(self.item_bias)

    def train_epoch(self) -> dict[str, float]:
        train, config, weights = self.train, self.config, self.weights
        residuals = train.values.astype(np.float64) - self.mean
        without_users = residuals - self.user_bias[train.users]
        self.item_bias = _damped_means(
            without_users, train.items, train.item_count, config.item_damping, weights
        )
        without_items = residuals - self.item_bias[train.items]
        self.user_bias = _damped_means(
            without_items, train.users, train.user_count, config.user_damping, weights
        )
        return {"train_loss": float(np.square(without_items - self.user_bias[train.users]).mean())}

    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        return ratings.scale.clip(self.mean + self.user_bias[ratings.users] + self.item_bias[ratings.items])

    def state(self) -> Arrays:
        return {"user_bias": self.user_bias.copy(), "item_bias": self.item_bias.copy()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.user_bias, self.item_bias = np.array(state["user_bias"]), np.array(state["item_bias"])

    def export(self) -> ModelArtifact:
        arrays: Arrays = {
            "user_bias": self.user_bias.astype(np.float32),
            "item_bias": self.item_bias.astype(np.float32),
        }
        return ModelArtifact("bias", {**asdict(self.config), "mean": self.mean}, arrays, self.train.scale)


class BiasScorer:
    """Predicts by mean + bias + bias. A user's state is their bias, stars."""

    def __init__(self, member: ModelArtifact) -> None:
        self.scale, self.mean = member.scale, float(member.settings["mean"])
        self.damping = float(member.settings["user_damping"])
        self.user_bias, self.item_bias = member.arrays["user_bias"], member.arrays["item_bias"]

    def known_user(self, user: int) -> float:
        return float(self.user_bias[user])

    def fold_in(self, history: History, user: int | None = None) -> float:
        residuals = history.values - self.mean - self.item_bias[history.items]
        return float(residuals.sum() / max(len(residuals) + self.damping, 1e-9))

    def score(self, state: float, items: IntArray) -> FloatArray:
        return self.scale.clip(self.mean + state + self.item_bias[items])


def _scorer(member: ModelArtifact, histories: Callable[[int], History]) -> BiasScorer:
    return BiasScorer(member)


RANGES: dict[str, Range] = {
    "user_damping": FloatRange(0.5, 30.0, log=True),
    "item_damping": FloatRange(0.5, 30.0, log=True),
}
FAMILY = ModelFamily("bias", BiasConfig, BiasTrainer, _scorer, RANGES)
