"""Most popular items, with exponential decay: the baseline of every list, the same for all users.

A rating's weight halves with every ``half_life_days`` before the newest one; without times all weigh alike.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from pydantic import NonNegativeFloat

from recsys.models.family_config import family_config
from recsys.models.ranges import FloatRange, Range
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker

DAY_SECONDS = 86_400


@family_config("popularity")
class PopularityConfig:
    """Hyperparameters of popularity with decay."""

    half_life_days: NonNegativeFloat = 0.0  # 0: no decay


RANGES: dict[str, Range] = {"half_life_days": FloatRange(7.0, 3000.0, log=True)}


def fit_popularity(data: ListData, config: PopularityConfig, *, seed: int) -> Ranker:
    """Counts ratings per item.

    Args:
        data: Ratings, with times for a decay.
        config: See PopularityConfig.
        seed: Unused: the fit is deterministic.

    Returns:
        A ranker of one score per item, 1 for the most popular.
    """
    ratings = data.ratings
    weights = None
    if config.half_life_days > 0 and ratings.times is not None and len(ratings):
        age = (ratings.times.max() - ratings.times) / DAY_SECONDS
        weights = 0.5 ** (age / config.half_life_days)
    counts = np.bincount(ratings.items, weights=weights, minlength=ratings.item_count)
    base = (counts / max(float(counts.max(initial=0)), 1e-9)).astype(np.float32)
    return Ranker("popularity", {"config": asdict(config)}, {"base": base})
