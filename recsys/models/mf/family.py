"""Matrix factorisation's line in the registry: config, search ranges, lazily its trainer and scorer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys.data.split import TrainingData
from recsys.models.base import History, ModelArtifact, ModelFamily
from recsys.models.fields import require
from recsys.models.ranges import FloatRange, IntRange, Range

if TYPE_CHECKING:
    import torch

    from recsys.models.mf.scorer import MfScorer
    from recsys.models.mf.trainer import MfTrainer


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


RANGES: dict[str, Range] = {
    "factors": IntRange(8, 48, 8),
    "start_precision": FloatRange(1.0, 50.0, log=True),
    "embedding_scale": FloatRange(0.03, 0.3, log=True),
}


def build(config: MfConfig, data: TrainingData, *, epochs: int, seed: int, device: torch.device) -> MfTrainer:
    from recsys.models.mf.trainer import MfTrainer

    return MfTrainer(config, data, seed=seed, device=device)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> MfScorer:
    from recsys.models.mf.scorer import MfScorer

    return MfScorer(member)


FAMILY = ModelFamily("mf", MfConfig, build, make_scorer, RANGES)
