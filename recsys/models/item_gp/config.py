"""Hyperparameters of the Gaussian process over items: its Gibbs chain and its kernel."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from recsys.models.family_config import Share, family_config, require

MOST_COLUMNS = 128  # four times as many are buffered before a truncation


@family_config("item_gp")
class ItemGpConfig:
    """Hyperparameters; variances and lengths are in units of the linear kernel's variance."""

    factors: PositiveInt = 20  # width of the sampler's vectors, biases not counted
    rank: Annotated[int, Field(le=MOST_COLUMNS)] = 64  # columns of the items' vectors that the kernel reads
    smooth: NonNegativeFloat = 3.0  # variance of the rational quadratic kernel; 0 = off
    length: PositiveFloat = 0.06  # squared lengthscale of the rational quadratic kernel
    features: NonNegativeFloat = 0.12  # variance of a linear kernel over genres and year; 0 = off
    history: bool = True  # which items a user rated, and which users an item, shift the prior means
    history_rank: PositiveInt = 200  # singular vectors of the user-item matrix for this, at most
    side_features: bool = True  # demographics and genres shift them too, where the data has them
    sweeps: Annotated[int, Field(ge=2)] = 150  # of the Gibbs sampler, spread over the epochs
    burn_in: Share = 0.3  # share of the sweeps that is discarded
    patience: PositiveInt = 15  # epochs without a better valid rmse before the trial stops

    def __post_init__(self) -> None:
        require(
            self.factors < self.rank,
            f"item_gp.rank is {self.rank}, expected more than factors ({self.factors})",
        )
