"""Options of the myFM family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recsys.models.fields import require


@dataclass(frozen=True)
class MyFmConfig:
    factors: int = 10  # width of each feature's vector
    output: Literal["ordinal", "gaussian"] = "ordinal"  # ordered probit, or stars with Gaussian noise
    histories: bool = True  # what a user rated, and who rated an item, are features
    side_features: bool = True  # demographics, genres and years are features, where the data has them
    iterations: int = 300  # of the library's Gibbs sampler, all in the first epoch
    burn_in: float = 0.2  # share of the iterations that is left out of the average
    kept: int = 32  # samples that predict, thinned evenly from the rest
    patience: int = 1  # epochs without a better valid rmse before the trial stops; the first is all there is

    def __post_init__(self) -> None:
        require(1 <= self.factors <= 256, f"myfm.factors is {self.factors}, expected 1 to 256")
        require(self.iterations >= 2, f"myfm.iterations is {self.iterations}, expected 2 or more")
        require(0 <= self.burn_in < 1, f"myfm.burn_in is {self.burn_in}, expected 0 to below 1")
        require(self.kept >= 1 and self.patience >= 1, "myfm.kept and .patience must be 1 or more")
