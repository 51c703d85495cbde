"""How many queries a turn of the recommender takes, and whether it is short enough for the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

MAX_BATCH = 32
INLINE_SECONDS = 0.010  # of processor time a query that may be computed on the event loop
SLOW_SECONDS = 0.1  # of a turn on the event loop: the next ones go to the thread
PAUSE_SECONDS = 1.0  # for so long, twice as long after each further slow turn
MAX_PAUSE_SECONDS = 60.0


@dataclass
class TurnBudget:
    """A turn holds as many queries of a kind as have lately been done in ``seconds``.

    ``most`` is that many, ``takes`` the seconds that turns took lately."""

    seconds: float
    most: int
    takes: float

    def too_late(self, ends: float, now: float) -> bool:
        """Whether a turn begun ``now`` would end after ``ends``. Each time that turns keep somebody out they
        are believed to be a little shorter, so that a long one shuts nobody out for good."""
        late = ends <= now + self.takes
        if late:
            self.takes *= 0.95
        return late

    def update(self, count: int, spent: float, *, worked: float | None = None) -> None:
        """A full turn that was short lets one more in; a long one leaves out what was too much. What a query
        costs alone says little: several together cost less each.

        Args:
            count: queries in the turn.
            spent: seconds that it took.
            worked: seconds of processor time that its length is judged by, ``spent`` where None. A machine
                that is shared stretches every turn, and shorter ones would cost it more.
        """
        self.takes += 0.2 * (min(spent, self.seconds) - self.takes)
        worked = spent if worked is None else worked
        if worked > self.seconds:
            self.most = max(1, min(self.most, int(count * self.seconds / worked)))
        elif count == self.most:
            self.most = min(MAX_BATCH, self.most + 1)


class InlineRule:
    """Whether queries of a kind are computed on the event loop: they are short, and lately none was slow."""

    def __init__(self) -> None:
        self._cost: float | None = None  # seconds a query, None before the first
        self._pause = PAUSE_SECONDS
        self._paused_until = 0.0

    def allows(self) -> bool:
        return (
            self._cost is not None and self._cost <= INLINE_SECONDS and perf_counter() >= self._paused_until
        )

    def record(self, cost: float) -> None:
        """``cost`` in seconds of processor time a query, wherever it ran."""
        self._cost = cost if self._cost is None else self._cost + 0.2 * (cost - self._cost)

    def record_turn(self, spent: float) -> None:
        """A turn on the event loop took ``spent`` seconds of wall-clock time: whatever it waited for (a disk,
        another process), everybody waited with it."""
        if spent <= SLOW_SECONDS:
            self._pause = max(PAUSE_SECONDS, 0.9 * self._pause)
            return
        self._paused_until = perf_counter() + self._pause
        self._pause = min(MAX_PAUSE_SECONDS, 2 * self._pause)
