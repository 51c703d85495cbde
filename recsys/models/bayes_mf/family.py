"""Registry entry of Bayesian MF: config, search ranges; trainer and scorer are imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from recsys.data.split import TrainingData
from recsys.models.base import History, ModelArtifact, ModelFamily, Scorer, require_two_ratings
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.ranges import Categorical, FloatRange, IntRange, Range

if TYPE_CHECKING:
    from recsys.models.bayes_mf.trainer import BayesMfTrainer

MOST_EPOCHS = 30  # at ML-32M's shape predicting valid costs as much as three sweeps
RANGES: dict[str, Range] = {
    "factors": IntRange(8, 32),
    "output": Categorical({"ordinal": "ordinal", "gaussian": "gaussian"}),
    "user_noise": FloatRange(5.0, 100.0, log=True),
    "item_noise": FloatRange(5.0, 100.0, log=True),
    "history_rank": Categorical({"100": 100, "200": 200, "400": 400}),
}


def build(
    config: BayesMfConfig, data: TrainingData, *, epochs: int, seed: int, device: object
) -> BayesMfTrainer:
    """Makes the trainer, as ``ModelFamily.build``."""
    from recsys.models.bayes_mf.trainer import BayesMfTrainer

    return BayesMfTrainer(config, data, epochs=epochs, seed=seed, device=device)


def make_scorer(member: ModelArtifact, histories: Callable[[int], History]) -> Scorer:
    """Makes the scorer, as ``ModelFamily.scorer``."""
    from recsys.models.bayes_mf.scorer import BayesMfScorer

    return BayesMfScorer(member, histories)


def check(config: BayesMfConfig, data: TrainingData) -> None:
    """Checks a trial's data, as ``ModelFamily.check``.

    Raises:
        InputError: Too few ratings to sample from.
    """
    require_two_ratings("bayes_mf", data)


FAMILY = ModelFamily(
    "bayes_mf", BayesMfConfig, build, make_scorer, RANGES, check, uses_gpu=True, most_epochs=MOST_EPOCHS
)
