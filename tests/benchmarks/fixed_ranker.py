"""The ranker before lists were searched, a yardstick: ALS, EASE, the sum of both, or popularity."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import scipy.sparse as sp

from recsys.data.ratings import RatingScale
from recsys.ranking.als import UNIT, AlsConfig, fit_als
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import popularity
from recsys.types import Arrays, JsonObject
from tests.benchmarks.fixed_ease import EaseConfig, fit_ease


@dataclass(frozen=True)
class RankerConfig:
    """``ease_weight`` multiplies EASE's scores where both are there; neither is popularity. ``newcomers`` is
    how many ratings popularity is worth beside them (``popularity_prior.py``); 0 = nothing."""

    als: AlsConfig | None = None
    ease: EaseConfig | None = None
    ease_weight: float = 1.0
    newcomers: float = 0.0

    @property
    def family(self) -> str:
        names = [name for name in ("als", "ease") if getattr(self, name) is not None]
        return "+".join(names) or "popularity"

    def describe(self) -> JsonObject:
        """As plain JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def fit(self, rated: sp.csr_matrix, *, seed: int, scale: RatingScale = UNIT) -> Ranker:
        """A ranker of a ``rated_matrix``, of ratings on ``scale``."""
        als = None if self.als is None else fit_als(rated, self.als, seed=seed, scale=scale)
        ease = None if self.ease is None else fit_ease(rated, self.ease)
        return join(self, als, ease, rated)


def join(recipe: RankerConfig, als: Ranker | None, ease: Ranker | None, rated: sp.csr_matrix) -> Ranker:
    """The parts of ``recipe``, already fitted, as one ranker."""
    settings: JsonObject = {"recipe": recipe.describe()}
    if als is None and ease is None:
        return Ranker("popularity", settings, {"prior": popularity(rated)})
    arrays: Arrays = {}
    if als is not None:
        arrays |= als.arrays
        settings |= {name: als.settings[name] for name in ("ridge", "weight")}
    if ease is not None:
        weight = np.float32(recipe.ease_weight if als is not None else 1.0)
        arrays["weights"] = weight * ease.arrays["weights"]
    if recipe.newcomers > 0:
        arrays["prior"] = popularity(rated)
        settings["newcomers"] = recipe.newcomers
    return Ranker(recipe.family, settings, arrays)
