"""Hyperparameters of Bayesian matrix factorisation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from recsys.models.family_config import Share, family_config


@family_config("bayes_mf")
class BayesMfConfig:
    """Few hyperparameters: the sampler has no step size and resamples its priors."""

    factors: Annotated[int, Field(ge=1, le=256)] = 20  # width of a row's vector, biases not counted
    output: Literal["ordinal", "gaussian"] = "ordinal"  # ordered probit, or stars with Gaussian noise
    user_history: bool = True  # which items a user rated shifts the prior mean of the user's vector
    item_history: bool = True  # which users rated an item shifts the prior mean of the item's vector
    history_rank: PositiveInt = 200  # singular vectors of the user-item matrix for this, at most
    side_features: bool = True  # demographics and genres shift the prior means, where the data has them
    user_noise: NonNegativeFloat = 20.0  # ratings that the prior of a user's noise weighs; 0 = same noise
    item_noise: NonNegativeFloat = 20.0  # the same for items
    sweeps: Annotated[int, Field(ge=2)] = 300  # of the Gibbs sampler, spread over the epochs
    burn_in: Share = 0.2  # share of the sweeps that is discarded
    kept: PositiveInt = 32  # samples that predict, thinned evenly from the rest
    patience: PositiveInt = 15  # epochs without a better valid rmse before the trial stops
