"""The state of who asks: a row that training knew, a history to fold in, or both; and a cache of recent ones.

Folding in is the most expensive part of a list. A person who asks again brings the same history object: it is
recognised by identity, and the members' states are still there.
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
CACHE_SIZE = 1024  # people remembered: some kilobytes each


@dataclass
class UserState:
    """``history`` is all that is known of them, each item once; ``user`` their row, None for a stranger;
    ``fresh`` when the history holds more than the release was trained on; ``states`` what the members
    make of them, once somebody wanted to know."""

    user: int | None
    history: History
    needs_fold_in: bool
    states: list[Any] | None = None


class UserStateCache:
    """Safe to ask from several threads."""

    def __init__(self, histories: Callable[[int], History]) -> None:
        self._histories = histories
        self._cache: OrderedDict[tuple[int | None, int], tuple[History, UserState]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, query: Query) -> UserState:
        """A row with what the release keeps of it, joined with the ratings of the query."""
        given = query.history
        if given is None or not len(given.items):
            kept = EMPTY_HISTORY if query.user is None else self._histories(query.user)
            return UserState(query.user, kept, needs_fold_in=False)
        key = (query.user, id(given))
        with self._lock:
            # The history is held here, so that no other can have its id.
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key][1]
        kept = EMPTY_HISTORY if query.user is None else self._histories(query.user)
        person = UserState(query.user, merge(kept, given), needs_fold_in=True)
        with self._lock:
            self._cache[key] = (given, person)
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return person

    def forget(self) -> None:
        """Whoever asked lately."""
        with self._lock:
            self._cache.clear()


def merge(old: History, new: History) -> History:
    """One rating an item: the newer one, at the place where it was given."""
    items = np.concatenate([old.items, new.items])
    values = np.concatenate([old.values, new.values]).astype(np.float32)
    _, last = np.unique(items[::-1], return_index=True)
    kept = np.sort(len(items) - 1 - last)
    return History(items=items[kept].astype(np.int32), values=values[kept])
