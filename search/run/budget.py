"""The budget of a run in dollars and hours: its cap, its use so far, and when the search must end.

A run's cap is the tighter of its dollars and its hours. Part of it is reserved for the ensemble, the
report and the release, so that a run that hits its cap still leaves all three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from recsys.errors import InputError

MILESTONES = (0.5, 0.8, 1.0)
LEAST_FINISH_SECONDS = 60.0  # ending the workers and Ray takes up to half of it on a loaded machine
LEAST_PATIENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Budget:
    """``price_usd`` per hour and node; ``max_hours`` None is no cap on time; ``finish_hours`` kept back."""

    price_usd: float
    nodes: int
    max_usd: float
    max_hours: float | None
    finish_hours: float

    def __post_init__(self) -> None:
        for name, value in (("price", self.price_usd), ("max-cost", self.max_usd)):
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"--{name} is {value}, expected 0 or more US dollars")
        if self.max_hours is not None and not (math.isfinite(self.max_hours) and self.max_hours > 0):
            raise InputError(f"--max-hours is {self.max_hours}, expected more than 0 hours")

    @property
    def usd_per_hour(self) -> float:
        return self.price_usd * self.nodes

    @property
    def cap_hours(self) -> float:
        """Hours until the first cap; infinite where neither dollars nor hours bind."""
        by_money = self.max_usd / self.usd_per_hour if self.usd_per_hour > 0 else math.inf
        return min(by_money, math.inf if self.max_hours is None else self.max_hours)

    @property
    def search_hours(self) -> float:
        """Hours until the search must end: at least half of the cap is the search's."""
        return max(self.cap_hours - self.finish_hours, 0.5 * self.cap_hours)

    def explained(self, *, before_usd: float = 0.0) -> str:
        """One line: the most that the run can cost and how that was computed. ``before_usd`` were spent on
        rented machines before their search began."""
        rate = f"${self.price_usd:.2f}/hour x {self.nodes} node{'s' if self.nodes > 1 else ''}"
        if self.usd_per_hour == 0:
            time = "no cap on time" if self.max_hours is None else f"at most {hours(self.max_hours)}"
            return f"costs at most $0.00 ({rate}: your own machine; --price says otherwise), {time}"
        most = self.usd_per_hour * self.cap_hours
        by = f"--max-cost ${self.max_usd:.2f} / ${self.usd_per_hour:.2f} an hour"
        if self.max_hours is not None and self.max_hours <= self.max_usd / self.usd_per_hour:
            by = f"--max-hours {self.max_hours:g}"
        if before_usd:
            rate, most = f"${before_usd:.2f} before the search + {rate}", most + before_usd
        return f"costs at most ${most:.2f} = {rate} x {hours(self.cap_hours)} ({by})"


@dataclass
class Meter:
    """What a run has used.

    ``before_seconds`` were used by its earlier sessions (it was resumed); ``before_usd`` were spent before
    this session: by those, and by rented machines from their create calls on. None: at this price.
    """

    budget: Budget
    started: float
    before_seconds: float = 0.0
    reported: float = 0.0
    before_usd: float | None = None
    rented_before: float = 0.0  # of these, by the machines of now before their search began
    finish_seconds: float = 0.0  # what the end of the run needs as measured so far

    @property
    def search_end_hours(self) -> float:
        """Hours until the search must end, by what finishing was measured to need where that is more than
        planned; at least half of the cap is the search's."""
        cap, end = self.budget.cap_hours, self.budget.search_hours
        return end if math.isinf(cap) else min(end, max(cap - self.finish_seconds / 3600, 0.5 * cap))

    def hours(self, now: float) -> float:
        return (now - self.started + self.before_seconds) / 3600

    def usd(self, now: float) -> float:
        if self.before_usd is None:
            return self.hours(now) * self.budget.usd_per_hour
        return self.before_usd + (now - self.started) / 3600 * self.budget.usd_per_hour

    def share(self, now: float) -> float:
        """Of the cap used, 0 where there is none."""
        cap = self.budget.cap_hours
        return 0.0 if math.isinf(cap) else self.hours(now) / cap

    def search_is_over(self, now: float, *, epoch_seconds: float = 0.0) -> bool:
        """Whether running trials must end ``now`` (Unix seconds): their next epoch would not fit any more."""
        return self.hours(now) + epoch_seconds / 3600 >= self.search_end_hours

    def patience(self, now: float, *, epoch_seconds: float = 0.0) -> float:
        """Seconds that trials have to end themselves once the search is over at ``now`` (Unix seconds).

        90 s or five epochs, but no longer than until half of what is kept back for finishing is used: workers
        that have not ended by then are killed, so that the cap holds.
        """
        usual = max(LEAST_PATIENCE_SECONDS, 5 * epoch_seconds)
        if math.isinf(self.budget.cap_hours):
            return usual
        reserve = 3600 * (self.budget.cap_hours - self.search_end_hours)
        return min(usual, max(self.seconds_left(now) - reserve / 2, 0.0))

    def seconds_left(self, now: float) -> float:
        """Until the cap; infinite without one."""
        return (self.budget.cap_hours - self.hours(now)) * 3600

    def milestone(self, now: float) -> float | None:
        """The highest of 50, 80 and 100% newly reached, once each."""
        reached = max((mark for mark in MILESTONES if self.share(now) >= mark), default=0.0)
        if reached <= self.reported:
            return None
        self.reported = reached
        return reached


def hours(value: float) -> str:
    """ "1.5 h" or "4.0 min"."""
    return f"{value:.1f} h" if value >= 1 else f"{value * 60:.1f} min"
