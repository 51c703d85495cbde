"""A release's rows by the ids of the outside world, and ratings in those ids as histories in rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History
from recsys.release.loaded_release import Release

MAX_USER_ROWS = 50_000  # users whose row is remembered
MAX_HISTORIES = 20_000  # users with feedback whose ratings are remembered as rows


class ReleaseRows:
    """Rows of users and items, looked up in the release once and kept."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._items: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._histories: dict[str, tuple[object, History | None]] = {}

    def user(self, user_id: str) -> int | None:
        """The row of a user, None for one whom the release does not know."""
        row = self._users.get(user_id)
        if row is None:
            row = self._release.users.row(user_id)
            if row is not None:
                if len(self._users) >= MAX_USER_ROWS:
                    self._users.clear()
                self._users[user_id] = row
        return row

    def item(self, item_id: str) -> int | None:
        """The row of an item, None for one that the release does not know."""
        row = self._items.get(item_id)
        if row is None:
            row = self._release.items.ids.row(item_id)
            if row is not None:
                self._items[item_id] = row
        return row

    def items(self, item_ids: Sequence[str]) -> NDArray[np.int32]:
        """The rows of those that the release knows."""
        rows = (self.item(item_id) for item_id in item_ids)
        return np.array([row for row in rows if row is not None], dtype=np.int32)

    def history(self, user_id: str, ratings: dict[str, float]) -> History | None:
        """Feedback as rows, without what the release was already trained on.

        Args:
            user_id: whose.
            ratings: stars by item id. The dict is never changed by its owner, only replaced: the same object
                has the same answer.
        """
        known = self._histories.get(user_id)
        if known is not None and known[0] is ratings:
            return known[1]
        history = self._without_trained(self.user(user_id), ratings)
        if len(self._histories) >= MAX_HISTORIES:
            self._histories.clear()
        self._histories[user_id] = (ratings, history)
        return history

    def session(self, ratings: dict[str, float]) -> History | None:
        """Ratings as rows, those of unknown items left out; None where nothing remains."""
        rows = {row: stars for item, stars in ratings.items() if (row := self.item(item)) is not None}
        if not rows:
            return None
        items = np.fromiter(rows.keys(), dtype=np.int32, count=len(rows))
        return History(items, np.fromiter(rows.values(), dtype=np.float32, count=len(rows)))

    def clear_histories(self) -> None:
        """Keeps nobody's ratings."""
        self._histories.clear()

    def _without_trained(self, user: int | None, ratings: dict[str, float]) -> History | None:
        history = self.session(ratings)
        if user is None or history is None:
            return history
        trained = self._release.histories(user)
        stars = dict(zip(trained.items.tolist(), trained.values.tolist(), strict=True))
        pairs = zip(history.items.tolist(), history.values.tolist(), strict=True)
        new = np.array([stars.get(item) != value for item, value in pairs], dtype=np.bool_)
        return History(history.items[new], history.values[new]) if new.any() else None
