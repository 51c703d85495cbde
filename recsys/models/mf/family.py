"""Registry entry of MF: config, search ranges; trainer and scorer are imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from recsys.data.split import TrainingData
from recsys.models.base import History, ModelArtifact, ModelFamily
from recsys.models.mf.config import MfConfig
from recsys.models.ranges import FloatRange, IntRange, Range

if TYPE_CHECKING:
    import torch

    from recsys.models.mf.scorer import MfScorer
    from recsys.models.mf.trainer import MfTrainer


RANGES: dict[str, Range] = {
    "factors": IntRange(8, 48, 8),
    "start_precision": FloatRange(1.0, 50.0, log=True),
    "embedding_scale": FloatRange(0.03, 0.3, log=True),
}


def build(config: MfConfig, data: TrainingData, *, epochs: int, seed: int, device: torch.device) -> MfTrainer:
    """Makes the trainer, as ``ModelFamily.build``; its epochs are sweeps, however many are planned."""
    from recsys.models.mf.trainer import MfTrainer

    return MfTrainer(config, data, seed=seed, device=device)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> MfScorer:
    """Makes the scorer, as ``ModelFamily.scorer``; it needs no histories."""
    from recsys.models.mf.scorer import MfScorer

    return MfScorer(member)


FAMILY = ModelFamily("mf", MfConfig, build, make_scorer, RANGES, uses_gpu=True)
