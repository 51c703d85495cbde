"""Ratings given since the release was made, by user: what makes a rating change the next list at once.

Every replica holds all of them: the one that acknowledged a rating lays it down right then, the others
read it from the store a moment later. Each user's ratings are one dict that is replaced, never changed,
so that readers need no lock and may remember what they derived from it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from recsys.data.event_store import CLOCK_SLACK_SECONDS
from serving.domain import Feedback

NO_RATINGS: dict[str, float] = {}
RatedAt = tuple[str, str, float, float | None]


class RecentRatings:
    """``user_id -> {item_id: stars}``, the newest rating of an item counting."""

    def __init__(self) -> None:
        self._ratings: dict[str, dict[str, float]] = {}
        self._when: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._log: list[RatedAt] = []
        self._log_is_whole = True
        self.generation = 0  # of the log: another one after anything was taken out

    def __len__(self) -> int:
        """Users with ratings."""
        return len(self._ratings)

    def of(self, user_id: str) -> dict[str, float]:
        return self._ratings.get(user_id, NO_RATINGS)

    def add(self, event: Feedback) -> None:
        """Does nothing for what is not a rating, is there already, or is older than what is there."""
        if event.kind != "rating" or event.item_id is None or event.value is None:
            return
        key = (event.user_id, event.item_id)
        with self._lock:
            if self._when.get(key, float("-inf")) > event.at:
                return
            earlier = self._when.get(key)
            if earlier != event.at:
                self._log.append((event.user_id, event.item_id, event.at, earlier))
            self._when[key] = event.at
            before = self._ratings.get(event.user_id, NO_RATINGS)
            if before.get(event.item_id) != event.value:
                rest = {item: stars for item, stars in before.items() if item != event.item_id}
                self._ratings[event.user_id] = {**rest, event.item_id: event.value}

    def time_of_next(self, user_id: str, item_id: str, at: float, *, dated: bool, now: float) -> float:
        """The time to store with a new rating, so that it counts instead of the one before.

        A rating whose sender dates it before the stored one arrived late and stays older, unless the stored
        time is in the future: of a clock that was set back since.

        Args:
            user_id: of the user.
            item_id: of the item.
            at: when it was given, Unix seconds.
            dated: whether the sender says so.
            now: Unix seconds.
        """
        earlier = self._when.get((user_id, item_id), float("-inf"))
        if at > earlier or (dated and earlier <= now + CLOCK_SLACK_SECONDS):
            return at
        return earlier + 0.001

    def replace_all(self, events: Iterable[Feedback]) -> None:
        """Keeps what ``events`` say and nothing else."""
        fresh = RecentRatings()
        for event in events:
            fresh.add(event)
        with self._lock:
            self._ratings, self._when = fresh._ratings, fresh._when
            self._start_log()

    def users(self) -> list[str]:
        """Who has ratings."""
        with self._lock:
            return list(self._ratings)

    def erase_user(self, user_id: str) -> None:
        """Keeps no rating of this user."""
        with self._lock:
            for item in self._ratings.pop(user_id, {}):
                self._when.pop((user_id, item), None)
            self._start_log()

    def drop_before(self, at: float) -> None:
        """Keeps no rating that was given before ``at`` (Unix seconds), as retention does with the store."""
        with self._lock:
            for (user_id, item), when in list(self._when.items()):
                if when >= at:
                    continue
                del self._when[user_id, item]
                kept = {key: stars for key, stars in self._ratings[user_id].items() if key != item}
                if kept:
                    self._ratings[user_id] = kept
                else:
                    del self._ratings[user_id]
            self._start_log()

    def rated_since(self, position: int) -> list[RatedAt]:
        """What was rated after the first ``position`` entries of this generation: user, item, when, and when
        this user had rated it before."""
        with self._lock:
            if not self._log_is_whole:
                self._log = [(user_id, item, at, None) for (user_id, item), at in self._when.items()]
                self._log_is_whole = True
            return self._log[position:]

    def _start_log(self) -> None:
        self.generation += 1
        self._log_is_whole = False
