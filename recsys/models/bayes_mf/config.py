"""The dials of Bayesian matrix factorisation. There is no step size: a sampler needs few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recsys.models.fields import require


@dataclass(frozen=True)
class BayesMfConfig:
    factors: int = 20  # width of a user's and an item's vector, biases not counted
    output: Literal["ordinal", "gaussian"] = "ordinal"  # ordered probit, or stars with Gaussian noise
    user_history: bool = True  # which items a user rated shifts the prior mean of the user's vector
    item_history: bool = True  # which users rated an item shifts the prior mean of the item's vector
    history_rank: int = 200  # singular vectors of the who-rated-what matrix that carry this, at most
    side_features: bool = True  # demographics and genres shift the prior means, where the data has them
    user_noise: float = 20.0  # prior ratings behind a user's own noise level; 0 = one level for all
    item_noise: float = 20.0  # the same for items; 0 = one level for all
    sweeps: int = 300  # of the Gibbs sampler, spread over the epochs
    burn_in: float = 0.2  # share of the sweeps that is left out of the average
    kept: int = 32  # samples that predict, thinned evenly from the rest
    patience: int = 15  # epochs without a better valid rmse before the trial stops

    def __post_init__(self) -> None:
        require(1 <= self.factors <= 256, f"bayes_mf.factors is {self.factors}, expected 1 to 256")
        require(self.history_rank >= 1, f"bayes_mf.history_rank is {self.history_rank}, expected 1 or more")
        require(
            self.user_noise >= 0 and self.item_noise >= 0,
            "bayes_mf.user_noise and .item_noise must be 0 (off) or more",
        )
        require(self.sweeps >= 2, f"bayes_mf.sweeps is {self.sweeps}, expected 2 or more")
        require(0 <= self.burn_in < 1, f"bayes_mf.burn_in is {self.burn_in}, expected 0 to below 1")
        require(self.kept >= 1 and self.patience >= 1, "bayes_mf.kept and .patience must be 1 or more")
