"""How far predicted ratings are from given ones, in stars; and the plan's own figure, ``loss``.

``loss`` = MSE + 0.01 KL with that fixed weight, whatever weight a model trained with, so that the
plan's targets mean the same for every model. ``rmse`` is what ranks models. Neither is the other's root.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray

LOSS_KL_WEIGHT = 0.01


def squared_errors(predicted: FloatArray, actual: FloatArray) -> NDArray[np.float64]:
    """(n,) squared errors. ``ValueError`` where there are none or the lengths differ."""
    if len(predicted) != len(actual) or len(actual) == 0:
        raise ValueError(f"expected as many predictions as ratings, got {len(predicted)} and {len(actual)}")
    return np.square(np.subtract(predicted, actual, dtype=np.float64))


def mse(predicted: FloatArray, actual: FloatArray) -> float:
    """Mean squared error, stars squared."""
    return float(squared_errors(predicted, actual).mean())


def rmse(predicted: FloatArray, actual: FloatArray) -> float:
    """Root mean squared error, stars."""
    return float(np.sqrt(mse(predicted, actual)))


def mae(predicted: FloatArray, actual: FloatArray) -> float:
    """Mean absolute error, stars."""
    return float(np.sqrt(squared_errors(predicted, actual)).mean())


def loss(mse: float, kl: float) -> float:
    """The plan's figure: ``kl`` is the mean over latent dimensions, in nats, 0 for a model without any."""
    return mse + LOSS_KL_WEIGHT * kl
