"""Registry entry of the item process: config, search ranges; trainer and scorer are imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from recsys.data.split import TrainingData
from recsys.models.base import History, ModelArtifact, ModelFamily, Scorer, require_two_ratings
from recsys.models.bayes_mf.family import MOST_EPOCHS
from recsys.models.item_gp.config import ItemGpConfig
from recsys.models.ranges import Categorical, FloatRange, IntRange, Range

if TYPE_CHECKING:
    from recsys.models.item_gp.trainer import ItemGpTrainer


RANGES: dict[str, Range] = {
    "factors": IntRange(8, 32),
    "smooth": FloatRange(0.5, 5.0, log=True),
    "length": FloatRange(0.03, 1.0, log=True),
    "features": FloatRange(0.02, 0.5, log=True),
    "history_rank": Categorical({"100": 100, "200": 200, "600": 600}),
}


def build(
    config: ItemGpConfig, data: TrainingData, *, epochs: int, seed: int, device: object
) -> ItemGpTrainer:
    """Makes the trainer, as ``ModelFamily.build``."""
    from recsys.models.item_gp.trainer import ItemGpTrainer

    return ItemGpTrainer(config, data, epochs=epochs, seed=seed, device=device)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> Scorer:
    """Makes the scorer, as ``ModelFamily.scorer``; a known user's ratings are packed."""
    from recsys.models.item_gp.scorer import ItemGpScorer

    return ItemGpScorer(member)


def check(config: ItemGpConfig, data: TrainingData) -> None:
    """Checks a trial's data, as ``ModelFamily.check``.

    Raises:
        InputError: Too few ratings to sample from.
    """
    require_two_ratings("item_gp", data)


FAMILY = ModelFamily(
    "item_gp", ItemGpConfig, build, make_scorer, RANGES, check, uses_gpu=True, most_epochs=MOST_EPOCHS
)
