"""Similar and popular items of a release: lists that do not depend on a user."""

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

MAX_SAMPLED_RATINGS = 1_000_000  # that quantiles of all ratings are estimated from


class ItemLists:
    """Similar and popular items of one release, with the stars predicted for a user without a history."""

    def __init__(self, release: Release) -> None:
        self.release = release
        scale = release.manifest.dataset.scale
        self._scale = RatingScale(scale.low, scale.high)
        self._ensemble = RatingEnsemble(release.members, self._scale, release.correction)

    def similar(
        self, item: int, count: int = 10, *, allowed: BoolArray | None = None
    ) -> list[Recommendation]:
        """The nearest items by the cosine of their collaborative vectors, which is their ``score``.

        Args:
            item: Its row.
            count: Of items.
            allowed: (items,) mask that narrows the catalogue.

        Returns:
            Best first, with the stars predicted for a user without a history.

        Raises:
            InputError: The release has no such row.
        """
        self.check_items(np.array([item]))
        others = np.ones(len(self.release.items), dtype=np.bool_) if allowed is None else allowed.copy()
        others[item] = False
        return self.similar_to_vector(self.release.items.vectors[item], count, allowed=others)

    def similar_to_vector(
        self, vector: FloatArray, count: int = 10, *, allowed: BoolArray | None = None
    ) -> list[Recommendation]:
        """The items nearest to a vector, as ``similar``.

        Args:
            vector: (k,) of length 1.
            count: Of items.
            allowed: (items,) mask that narrows the catalogue.
        """
        scores = np.asarray(self.release.items.vectors @ vector, dtype=np.float32)
        if allowed is not None:
            scores[~allowed] = -np.inf
        return self._with_cold_start_stars(top_k(scores, count), scores)

    def popular(
        self,
        count: int,
        genre: str | None = None,
        *,
        trending: bool = False,
        allowed: BoolArray | None = None,
        counts: FloatArray | None = None,
    ) -> list[Recommendation]:
        """The most rated items; ``score`` is 1 for the most popular item of the catalogue.

        Args:
            count: Of items.
            genre: Narrows the list to one genre.
            trending: Whether ratings lose weight with age.
            allowed: (items,) mask that narrows the catalogue.
            counts: (items,) newer popularity than the release's.

        Raises:
            InputError: An unknown genre.
        """
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
        return self._with_cold_start_stars(top_k(scores, count), scores)

    def popularity_scores(self, trending: bool) -> NDArray[np.float32]:
        """(items,) on 0..1, a copy."""
        popularity = self.release.popularity
        return _on_unit(popularity.trending if trending else popularity.counts)

    def usual_interval(self, stars: float) -> tuple[float, float] | None:
        """The rating interval of an item that was added after the release was made.

        Args:
            stars: Its predicted rating.

        Returns:
            Lower and upper end of the central ratings of all items, widened to ``stars``; None where the
            release carries no intervals.
        """
        if self.release.manifest.rating_blend.intervals is None:
            return None
        least, most = map(float, self._usual_ratings)
        return min(stars, least), max(stars, most)

    def check_items(self, items: IntArray) -> None:
        count = len(self.release.items)
        if len(items) and not (items.min() >= 0 and items.max() < count):
            raise InputError(f"item rows {items.min()} .. {items.max()}, expected 0 .. {count - 1}")

    def _with_cold_start_stars(
        self, items: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> list[Recommendation]:
        """Adds the stars predicted for a user without a history."""
        if not len(items):
            return []
        stars = self._ensemble.predict(self._cold_start_states, items)
        return [
            Recommendation(int(item), float(scores[item]), float(star))
            for item, star in zip(items, stars, strict=True)
        ]

    @cached_property
    def _cold_start_states(self) -> list[Any]:
        return self._ensemble.states(UserState(None, EMPTY_HISTORY, needs_fold_in=False))

    @cached_property
    def _usual_ratings(self) -> NDArray[np.float32]:
        """(2,) stars: the central interval of all ratings, at the intervals' confidence level."""
        intervals, values = self.release.manifest.rating_blend.intervals, self.release.histories.values
        level = 1.0 if intervals is None else intervals.level
        if not len(values):
            return np.array([self._scale.low, self._scale.high], dtype=np.float32)
        sample = values[:: max(1, len(values) // MAX_SAMPLED_RATINGS)].astype(np.float32)
        return np.quantile(sample, [(1 - level) / 2, (1 + level) / 2]).astype(np.float32)


def _on_unit(counts: FloatArray) -> NDArray[np.float32]:
    """(items,) shares of the largest count, a copy."""
    return (counts / max(float(counts.max()), 1e-9)).astype(np.float32)
