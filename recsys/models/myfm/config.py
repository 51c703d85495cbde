"""Hyperparameters of the Bayesian factorisation machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from recsys.models.family_config import Share, family_config


@family_config("myfm")
class MyFmConfig:
    """Hyperparameters; the ones of the prior are sampled by the library."""

    factors: Annotated[int, Field(ge=1, le=256)] = 10  # width of each feature's vector
    output: Literal["ordinal", "gaussian"] = "ordinal"  # ordered probit, or stars with Gaussian noise
    histories: bool = True  # what a user rated, and who rated an item, are features
    side_features: bool = True  # demographics, genres and years are features, where the data has them
    iterations: Annotated[int, Field(ge=2)] = 300  # of the library's Gibbs sampler, all in the first epoch
    burn_in: Share = 0.2  # share of the iterations that is discarded
    kept: PositiveInt = 32  # samples that predict, thinned evenly from the rest
    patience: PositiveInt = 1  # epochs without a better valid rmse; only the first trains
