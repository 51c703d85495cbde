"""Errors of predicted ratings, in stars, and the plan's own figure, ``loss``.

``loss`` = MSE + 0.01 KL with that fixed weight, whatever weight a model trained with, so that the plan's
targets mean the same for every model. Models are ranked by ``rmse``. Neither is the other's root.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray

LOSS_KL_WEIGHT = 0.01


def squared_errors(predicted: FloatArray, actual: FloatArray) -> NDArray[np.float64]:
    """Squared errors.

    Args:
        predicted: (n,) stars.
        actual: (n,) stars.

    Returns:
        (n,) stars squared.

    Raises:
        ValueError: There are none, or the lengths differ.
    """
    if len(predicted) != len(actual) or len(actual) == 0:
        raise ValueError(f"expected as many predictions as ratings, got {len(predicted)} and {len(actual)}")
    return np.square(np.subtract(predicted, actual, dtype=np.float64))


def mse(predicted: FloatArray, actual: FloatArray) -> float:
    """Mean squared error, stars squared.

    Args:
        predicted: (n,) stars.
        actual: (n,) stars.
    """
    return float(squared_errors(predicted, actual).mean())


def rmse(predicted: FloatArray, actual: FloatArray) -> float:
    """Root mean squared error, stars.

    Args:
        predicted: (n,) stars.
        actual: (n,) stars.
    """
    return float(np.sqrt(mse(predicted, actual)))


def mae(predicted: FloatArray, actual: FloatArray) -> float:
    """Mean absolute error, stars.

    Args:
        predicted: (n,) stars.
        actual: (n,) stars.
    """
    return float(np.sqrt(squared_errors(predicted, actual)).mean())


def loss(mse: float, kl: float) -> float:
    """The plan's figure, MSE + 0.01 KL.

    Args:
        mse: Stars squared.
        kl: Nats, mean over latent dimensions; 0 for a model without a latent.
    """
    return mse + LOSS_KL_WEIGHT * kl
