"""The state of a user: a trained row, a history to fold in, or both; and a cache of recent ones.

Folding in is the most expensive part of a list. A returning user comes with the same history object, which is
recognised by identity, so that the members' states need not be computed again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.models.base import History
from recsys.release.queries import Query

EMPTY_HISTORY = History(items=np.empty(0, dtype=np.int32), values=np.empty(0, dtype=np.float32))
CACHE_SIZE = 1024  # users: some kilobytes each


@dataclass
class UserState:
    """A user as the ensemble sees them.

    Attributes:
        user: Their row; None for a user that the release does not know.
        history: All their ratings, each item once.
        needs_fold_in: Whether the history holds more than the release was trained on.
        states: The ensemble members' states, once computed.
    """

    user: int | None
    history: History
    needs_fold_in: bool
    states: list[Any] | None = None

    @property
    def folds_history_in(self) -> bool:
        """Whether there is a history to fold in."""
        return self.needs_fold_in and len(self.history.items) > 0


class UserStateCache:
    """States of the most recent users. Thread-safe."""

    def __init__(self, histories: Callable[[int], History]) -> None:
        self._histories = histories
        self._cache: OrderedDict[tuple[int | None, int], tuple[History, UserState]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, query: Query) -> UserState:
        """The state of a query's user: the release's history joined with the query's ratings.

        Args:
            query: Of the user.
        """
        new = query.history
        if new is None or not len(new.items):
            known = EMPTY_HISTORY if query.user is None else self._histories(query.user)
            return UserState(query.user, known, needs_fold_in=False)
        key = (query.user, id(new))
        with self._lock:
            # The cache holds the history, so that no other object can have its id.
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key][1]
        known = EMPTY_HISTORY if query.user is None else self._histories(query.user)
        user_state = UserState(query.user, merge(known, new), needs_fold_in=True)
        with self._lock:
            self._cache[key] = (new, user_state)
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return user_state

    def clear(self) -> None:
        """Drops all states."""
        with self._lock:
            self._cache.clear()


def merge(old: History, new: History) -> History:
    """Joins two histories; of two ratings of an item the newer one stays.

    Args:
        old: Oldest first.
        new: Given after ``old``.

    Returns:
        Each item once, in the order of its latest rating.
    """
    items = np.concatenate([old.items, new.items])
    values = np.concatenate([old.values, new.values]).astype(np.float32)
    _, last = np.unique(items[::-1], return_index=True)
    last_of_each = np.sort(len(items) - 1 - last)
    return History(items=items[last_of_each].astype(np.int32), values=values[last_of_each])
