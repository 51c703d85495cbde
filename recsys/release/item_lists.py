"""Similar and popular items of a release: lists without a person."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.ranking.top_k import top_k
from recsys.release.loaded_release import Release
from recsys.release.queries import (
    Recommendation,
)
from recsys.release.rating_ensemble import RatingEnsemble
from recsys.release.user_state import EMPTY_HISTORY, UserState
from recsys.types import BoolArray, FloatArray, IntArray


class ItemLists:
    """Lists of one release that are nobody's own: similar and popular items, with the stars that somebody
    unknown would be predicted to give."""

    def __init__(self, release: Release) -> None:
        self.release = release
        scale = release.manifest.dataset.scale
        self._scale = RatingScale(scale.low, scale.high)
        self._stars = RatingEnsemble(release.members, self._scale, release.correction)

    def similar(
        self, item: int, count: int = 10, *, allowed: BoolArray | None = None
    ) -> list[Recommendation]:
        """The items most alike by who rated them; ``score`` is the cosine, stars are for a stranger.

        ``allowed`` (items,) mask narrows the catalogue."""
        self.check_items(np.array([item]))
        others = np.ones(len(self.release.items), dtype=np.bool_) if allowed is None else allowed.copy()
        others[item] = False
        return self.similar_to_vector(self.release.items.vectors[item], count, allowed=others)

    def similar_to_vector(
        self, vector: FloatArray, count: int = 10, *, allowed: BoolArray | None = None
    ) -> list[Recommendation]:
        """The items nearest to ``vector`` (k,), of length 1, as ``similar``."""
        scores = np.asarray(self.release.items.vectors @ vector, dtype=np.float32)
        if allowed is not None:
            scores[~allowed] = -np.inf
        return self._for_strangers(top_k(scores, count), scores)

    def popular(
        self,
        count: int,
        genre: str | None = None,
        *,
        trending: bool = False,
        allowed: BoolArray | None = None,
        counts: FloatArray | None = None,
    ) -> list[Recommendation]:
        """The most rated items, by ``trending`` with decay; ``score`` is 1 for the first of them all.

        ``allowed`` (items,) mask narrows the catalogue; ``counts`` (items,) are newer than the release's."""
        scores = self.popularity_scores(trending) if counts is None else _on_unit(counts)
        if allowed is not None:
            scores[~allowed] = -np.inf
        if genre is not None:
            try:
                scores[~self.release.items.with_genres([genre])] = -np.inf
            except KeyError:
                raise InputError(
                    f"unknown genre {genre!r}; there are {', '.join(self.release.items.genre_names)}"
                ) from None
        return self._for_strangers(top_k(scores, count), scores)

    def popularity_scores(self, trending: bool) -> NDArray[np.float32]:
        """(items,) on 0..1, a copy."""
        popularity = self.release.popularity
        return _on_unit(popularity.trending if trending else popularity.counts)

    def check_items(self, items: IntArray) -> None:
        count = len(self.release.items)
        if len(items) and not (items.min() >= 0 and items.max() < count):
            raise InputError(f"item rows {items.min()} .. {items.max()}, expected 0 .. {count - 1}")

    def _for_strangers(self, items: NDArray[np.int64], scores: NDArray[np.float32]) -> list[Recommendation]:
        """With the stars that somebody unknown would be predicted to give."""
        if not len(items):
            return []
        stars = self._stars.rate(self._strangers, items)
        return [
            Recommendation(int(item), float(scores[item]), float(star))
            for item, star in zip(items, stars, strict=True)
        ]

    @cached_property
    def _strangers(self) -> list[Any]:
        return self._stars.states(UserState(None, EMPTY_HISTORY, needs_fold_in=False))


def _on_unit(counts: FloatArray) -> NDArray[np.float32]:
    """(items,) shares of the largest count, a copy."""
    return (counts / max(float(counts.max()), 1e-9)).astype(np.float32)
