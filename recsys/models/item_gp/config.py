"""Options of the item process: the chain that it reads, and its kernel."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.models.fields import require

MOST_COLUMNS = 128  # four times as many are gathered between cuts


@dataclass(frozen=True)
class ItemGpConfig:
    factors: int = 20  # width of the sampler's vectors, biases not counted
    rank: int = 64  # columns of the items' vectors that the kernel reads
    smooth: float = 3.0  # variance of a user's smooth part, in those of the linear one; 0 = off
    length: float = 0.06  # squared distance over which it changes, in variances of the linear part
    features: float = 0.12  # variance of a part in genres and year, in those of the linear one; 0 = off
    history: bool = True  # which items a user rated, and which users an item, shift the prior means
    history_rank: int = 200  # singular vectors of the who-rated-what matrix that carry this, at most
    side_features: bool = True  # demographics and genres shift them too, where the data has them
    sweeps: int = 150  # of the Gibbs sampler, spread over the epochs
    burn_in: float = 0.3  # share of the sweeps that is left out of the average
    patience: int = 15  # epochs without a better valid rmse before the trial stops

    def __post_init__(self) -> None:
        require(
            1 <= self.factors < self.rank,
            f"item_gp.rank is {self.rank}, expected more than factors ({self.factors}), and those 1 or more",
        )
        require(self.rank <= MOST_COLUMNS, f"item_gp.rank is {self.rank}, expected at most {MOST_COLUMNS}")
        require(self.smooth >= 0, f"item_gp.smooth is {self.smooth}, expected 0 (off) or more")
        require(self.features >= 0, f"item_gp.features is {self.features}, expected 0 (off) or more")
        require(self.length > 0, f"item_gp.length is {self.length}, expected above 0")
        require(self.history_rank >= 1, f"item_gp.history_rank is {self.history_rank}, expected 1 or more")
        require(self.sweeps >= 2, f"item_gp.sweeps is {self.sweeps}, expected 2 or more")
        require(0 <= self.burn_in < 1, f"item_gp.burn_in is {self.burn_in}, expected 0 to below 1")
        require(self.patience >= 1, f"item_gp.patience is {self.patience}, expected 1 or more")
