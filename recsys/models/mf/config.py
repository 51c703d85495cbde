"""Hyperparameters of variational matrix factorisation."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from recsys.models.family_config import family_config


@family_config("mf")
class MfConfig:
    """Shrinkage and noise are learnt from the data at every sweep, so there is little to set."""

    factors: PositiveInt = 16  # width of p and q, without the biases
    start_precision: PositiveFloat = 3.0  # initial precision of the prior over p and q, before it is learnt
    embedding_scale: PositiveFloat = 0.1  # standard deviation of the initial p and q
    patience: PositiveInt = 3  # sweeps without a better valid rmse before the trial stops
