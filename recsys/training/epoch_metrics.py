"""Metrics of an epoch: on valid and on a fixed sample of train, in evaluation mode.

Monitoring may cost 1% of training (tests/benchmarks/watching.py), and predicting a rating costs half of
training on it, so that small data gets a small sample. The sample is stratified by each rating's residual
from the means of its user and item. Measured on ML-100K, 600 stratified rows estimate train's rmse within
0.006 to 0.015 stars (one standard error), 600 random ones within 0.025; the gap diagnostic begins at most an
epoch earlier or later than with 20,000 rows.

A model with time effects predicts at the newest training time, whatever the time of a rating: a packed member
serves such predictions, so that trials are ranked, blends fitted and test evaluated by them
(``search.finalize.evaluator``). The ablation benchmark measures the gain of each rating's own time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.metrics.rating import LOSS_KL_WEIGHT
from recsys.models.base import TRAIN_SAMPLE, Trainer
from recsys.seeds import derive_seed
from recsys.types import FloatArray

SAMPLE_SHARE = 128  # the sample is one in 128 ratings of train, LEAST_SAMPLE to TRAIN_SAMPLE of them
LEAST_SAMPLE = 500
MAX_CANDIDATES = 400_000  # random ratings that the sample is stratified over
DAMPING = 5.0  # ratings that the prior "no deviation" weighs as much as


@dataclass(frozen=True)
class EpochMetrics:
    """As in EpochReport; NaN where valid is empty. ``predictions`` (valid,) float32 stars."""

    loss: float
    rmse: float
    mae: float
    kl: float
    active_latents: float
    train_rmse: float
    predictions: NDArray[np.float32]

    @property
    def figures(self) -> dict[str, float]:
        """All but ``predictions``, by name."""
        return {name: value for name, value in vars(self).items() if name != "predictions"}


def train_sample(data: TrainingData, seed: int) -> Ratings:
    """Training ratings to measure ``train_rmse`` on, the same in every epoch.

    Args:
        data: Of the trial.
        seed: Of the trial.

    Returns:
        The sample.
    """
    train = data.train
    count = min(len(train), TRAIN_SAMPLE, max(LEAST_SAMPLE, len(train) // SAMPLE_SHARE))
    random = np.random.default_rng(derive_seed(seed, "train-sample"))
    candidates = random.permutation(len(train))[:MAX_CANDIDATES]
    ordered = candidates[np.argsort(_mean_residuals(train)[candidates], kind="stable")]
    indices = (np.arange(count) + random.random()) * (len(ordered) / count)
    return train.take(np.sort(ordered[indices.astype(np.int64)]))


def _mean_residuals(ratings: Ratings) -> FloatArray:
    """(n,) stars above the item's mean and then the user's, both shrunk towards 0."""
    residuals: FloatArray = ratings.values - ratings.values.mean(dtype=np.float64)
    for rows, count in ((ratings.items, ratings.item_count), (ratings.users, ratings.user_count)):
        means = np.bincount(rows, residuals, minlength=count) / (np.bincount(rows, minlength=count) + DAMPING)
        residuals = residuals - means[rows]
    return residuals


def evaluate(trainer: Trainer, valid: Ratings, sample: Ratings) -> EpochMetrics:
    """Predicts both slices and measures the errors.

    Args:
        trainer: After an epoch.
        valid: The validation slice, weighted where it has weights.
        sample: Of the training slice.

    Returns:
        The metrics, and the predictions of ``valid``.
    """
    valid, sample = (replace(ratings, times=None) for ratings in (valid, sample))
    train_errors = trainer.predict(sample).astype(np.float64) - sample.values
    predictions = trainer.predict(valid)  # last: latent_statistics reads the newest prediction
    with np.errstate(all="ignore"):
        errors = predictions.astype(np.float64) - valid.values
        mse = float(np.average(np.square(errors), weights=valid.weights)) if len(valid) else math.nan
        mae = float(np.average(np.abs(errors), weights=valid.weights)) if len(valid) else math.nan
        train_rmse = float(np.sqrt(np.square(train_errors).mean()))
    kl, active = trainer.latent_statistics(valid if len(valid) else sample)
    return EpochMetrics(
        loss=mse + LOSS_KL_WEIGHT * kl,
        rmse=math.sqrt(mse) if mse >= 0 else math.nan,
        mae=mae,
        kl=kl,
        active_latents=active,
        train_rmse=train_rmse,
        predictions=predictions,
    )
