"""How often items are rated, moving with the events: the release's figures and what was rated since.

A person's newest rating of an item counts once. ``trending`` uses forward decay (Cormode et al. 2009): a
rating at time t weighs 2 ^ ((t - landmark) / half-life) with the release's newest rating as the landmark, so
that nothing has to be decayed as time goes by. Testers and anonymous sessions do not count.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from recsys.data.event_store import ANONYMOUS
from recsys.release.arrays import TRENDING_HALF_LIFE_DAYS
from serving.engine.recent_ratings import RecentRatings
from serving.engine.served_release import ServedRelease

HALF_LIFE_SECONDS = TRENDING_HALF_LIFE_DAYS * 86_400
MAX_HALF_LIVES = 1_000.0  # between the landmark and an event; 2 to this still is a number


class LivePopularity:
    """Of one release. ``counts`` and ``trending`` are (items,); one thread calls ``update``."""

    def __init__(
        self, loaded: ServedRelease, recent_ratings: RecentRatings, testers: Collection[str]
    ) -> None:
        popularity = loaded.release.popularity
        self.counts: NDArray[np.float64] = popularity.counts.astype(np.float64)
        self.trending: NDArray[np.float64] = popularity.trending.astype(np.float64)
        self._release = loaded.release
        self._testers = frozenset(testers)
        self._recent_ratings = recent_ratings
        self._generation = recent_ratings.generation
        self._read = 0
        self._landmark: float | None = loaded.release.manifest.dataset.last_timestamp

    def belongs_to(self, loaded: ServedRelease) -> bool:
        """Whether the figures are of this release's items."""
        return self._release is loaded.release

    def is_of(self, loaded: ServedRelease, recent_ratings: RecentRatings, testers: Collection[str]) -> bool:
        """Whether it goes on from here; else it is made anew."""
        return (
            self.belongs_to(loaded)
            and self._generation == recent_ratings.generation
            and self._testers == frozenset(testers)
        )

    def update(self) -> None:
        """Counts what was rated since the last call."""
        for user_id, item_id, at, before in self._recent_ratings.rated_since(self._read):
            self._read += 1
            row = self._release.items.ids.row(item_id)
            if row is None or user_id in self._testers or user_id.startswith(ANONYMOUS):
                continue
            self._landmark = at if self._landmark is None else self._landmark
            known = self._is_known(user_id, row)
            if before is None and not known:
                self.counts[row] += 1
            if not known or at > self._landmark:
                self.trending[row] += self._weight(at)
                if before is not None and (not known or before > self._landmark):
                    self.trending[row] -= self._weight(before)

    def _is_known(self, user_id: str, row: int) -> bool:
        """Whether the release counts a rating of this pair already."""
        user = self._release.users.row(user_id)
        return user is not None and bool((self._release.histories(user).items == row).any())

    def _weight(self, at: float) -> float:
        landmark = at if self._landmark is None else self._landmark
        return float(2.0 ** min((at - landmark) / HALF_LIFE_SECONDS, MAX_HALF_LIVES))
