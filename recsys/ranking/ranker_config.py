"""What a ranker is made by: implicit ALS, EASE, the sum of both, or popularity alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data.ratings import Ratings, RatingScale
from recsys.models.base import History
from recsys.ranking.als import UNIT, AlsConfig, fit_als
from recsys.ranking.ease import EaseConfig, fit_ease
from recsys.ranking.ranker import Ranker
from recsys.types import Arrays, JsonObject


@dataclass(frozen=True)
class RankerConfig:
    """``ease_weight`` multiplies EASE's scores where both are there; neither is popularity. ``newcomers`` is
    how many ratings popularity is worth beside them (see newcomers.py); 0 = nothing."""

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


def popularity(rated: sp.csr_matrix) -> NDArray[np.float32]:
    """(items,) ratings over those of the most rated item."""
    counts = np.bincount(rated.indices, minlength=rated.shape[1]).astype(np.float32)
    return np.asarray(counts / max(float(counts.max()), 1.0), dtype=np.float32)


def rated_matrix(ratings: Ratings) -> sp.csr_matrix:
    """(users, items) float32: 1 for the lowest rating that can be given, to 2 for the highest."""
    liked = 1 + (ratings.values - ratings.scale.low) / np.float32(ratings.scale.span)
    shape = (ratings.user_count, ratings.item_count)
    return sp.csr_matrix((liked.astype(np.float32), (ratings.users, ratings.items)), shape=shape)


def history_of(rated: sp.csr_matrix, user: int, scale: RatingScale) -> History:
    """A row of a ``rated_matrix`` as the ratings it was made of."""
    part = slice(rated.indptr[user], rated.indptr[user + 1])
    return History(
        rated.indices[part], (rated.data[part] - 1) * np.float32(scale.span) + np.float32(scale.low)
    )


def seen_matrix(ratings: Ratings) -> sp.csr_matrix:
    """(users, items) float32, 1 where rated."""
    ones = np.ones(len(ratings), dtype=np.float32)
    return sp.csr_matrix(
        (ones, (ratings.users, ratings.items)), shape=(ratings.user_count, ratings.item_count)
    )
