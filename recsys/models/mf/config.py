"""Options of variational matrix factorisation."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.models.fields import require


@dataclass(frozen=True)
class MfConfig:
    """Shrinkage and noise are learnt from the data at every sweep, so these few are all there is."""

    factors: int = 16  # width of p and q, beside the biases
    start_precision: float = 3.0  # of the prior over p and q before it is learnt
    embedding_scale: float = 0.1  # standard deviation of p and q's start
    patience: int = 3  # sweeps without a better valid rmse before the trial stops

    def __post_init__(self) -> None:
        require(self.factors >= 1, f"mf.factors is {self.factors}, expected 1 or more")
        require(
            self.start_precision > 0 and self.embedding_scale > 0,
            "mf.start_precision and .embedding_scale must be above 0",
        )
        require(self.patience >= 1, f"mf.patience is {self.patience}, expected 1 or more")
