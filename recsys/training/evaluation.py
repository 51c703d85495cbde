"""One epoch's figures: valid and a fixed sample of train, in evaluation mode."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.models.base import TRAIN_SAMPLE, Trainer
from recsys.seeds import derive_seed

LOSS_KL_WEIGHT = 0.01  # of the plan's ``loss``, whatever weight the trial trains with


@dataclass(frozen=True)
class Figures:
    """As in EpochReport; NaN where valid is empty. ``predictions`` (valid,) float32 stars."""

    loss: float
    rmse: float
    mae: float
    kl: float
    active_latents: float
    train_rmse: float
    predictions: NDArray[np.float32]


def train_sample(data: TrainingData, seed: int) -> Ratings:
    """The same rows every epoch, so that the gap moves only because the model does."""
    rows = np.random.default_rng(derive_seed(seed, "train-sample")).permutation(len(data.train))
    return data.train.take(np.sort(rows[:TRAIN_SAMPLE]))


def evaluate(trainer: Trainer, valid: Ratings, sample: Ratings) -> Figures:
    predictions = trainer.predict(valid)
    with np.errstate(all="ignore"):
        error = predictions.astype(np.float64) - valid.values
        on_train = trainer.predict(sample).astype(np.float64) - sample.values
        mse = float(np.square(error).mean()) if len(valid) else math.nan
        mae = float(np.abs(error).mean()) if len(valid) else math.nan
        train_rmse = float(np.sqrt(np.square(on_train).mean()))
    kl, active = trainer.latent(valid if len(valid) else sample)
    return Figures(
        loss=mse + LOSS_KL_WEIGHT * kl,
        rmse=math.sqrt(mse) if mse >= 0 else math.nan,
        mae=mae,
        kl=kl,
        active_latents=active,
        train_rmse=train_rmse,
        predictions=predictions,
    )
