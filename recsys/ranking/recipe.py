"""What a ranker is made by: implicit ALS, EASE, the sum of both, or popularity alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import scipy.sparse as sp

from recsys.data.ratings import Ratings
from recsys.ranking.als import AlsConfig, fit_als
from recsys.ranking.ease import EaseConfig, fit_ease
from recsys.ranking.packed import PackedRanker
from recsys.types import Arrays, JsonObject


@dataclass(frozen=True)
class Recipe:
    """``ease_weight`` multiplies EASE's scores where both are there; neither is popularity."""

    als: AlsConfig | None = None
    ease: EaseConfig | None = None
    ease_weight: float = 1.0

    @property
    def family(self) -> str:
        names = [name for name in ("als", "ease") if getattr(self, name) is not None]
        return "+".join(names) or "popularity"

    def describe(self) -> JsonObject:
        """As plain JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def fit(self, seen: sp.csr_matrix, *, seed: int) -> PackedRanker:
        """A ranker of a binary (users, items) matrix."""
        als = None if self.als is None else fit_als(seen, self.als, seed=seed)
        ease = None if self.ease is None else fit_ease(seen, self.ease)
        return join(self, als, ease, seen)


def join(
    recipe: Recipe, als: PackedRanker | None, ease: PackedRanker | None, seen: sp.csr_matrix
) -> PackedRanker:
    """The parts of ``recipe``, already fitted, as one ranker."""
    settings: JsonObject = {"recipe": recipe.describe()}
    if als is None and ease is None:
        counts = np.asarray(seen.sum(axis=0), dtype=np.float32).ravel()
        return PackedRanker("popularity", settings, {"prior": counts / max(float(counts.max()), 1.0)})
    arrays: Arrays = {}
    if als is not None:
        arrays |= als.arrays
        settings |= {name: als.settings[name] for name in ("ridge", "weight")}
    if ease is not None:
        weight = np.float32(recipe.ease_weight if als is not None else 1.0)
        arrays["weights"] = weight * ease.arrays["weights"]
    return PackedRanker(recipe.family, settings, arrays)


def seen_matrix(ratings: Ratings) -> sp.csr_matrix:
    """(users, items) float32, 1 where rated."""
    ones = np.ones(len(ratings), dtype=np.float32)
    return sp.csr_matrix(
        (ones, (ratings.users, ratings.items)), shape=(ratings.user_count, ratings.item_count)
    )
