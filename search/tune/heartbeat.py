"""Hang detection: when a running trial that reports nothing counts as hung. No clock, no Ray.

A trial reports after each epoch. The limit is ``TIMES`` its own longest epoch, including what comes between
two reports (recoveries, checkpoints), and never less than a floor. Before the first epoch nothing is
measured: a sampler's start, a compilation or the lists of a whole catalogue may take long, in proportion to
the ratings. Time in which this process did not check (the machine asleep, the process stopped) does not
count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TIMES = 20.0  # a hang is so many of the trial's longest epochs
FIRST_TIMES = 5.0  # the floor before the first epoch, in floors
SECONDS_A_RATING = 1e-3  # before the first epoch; the formula's takes 0.2 ms a rating on two cores
CHECKED_AT_LEAST_EVERY = 5.0  # seconds; a longer break between checks counts as this much


@dataclass
class TrialHeartbeat:
    """One running trial, seconds: its silence now, and its longest epoch."""

    silent: float = 0.0
    longest: float | None = None


@dataclass(frozen=True)
class HungTrial:
    """A trial that was silent for longer than allowed, in seconds; ``longest`` None before an epoch."""

    silent: float
    allowed: float
    longest: float | None

    def described(self) -> str:
        longest = "no epoch yet" if self.longest is None else f"its longest epoch took {self.longest:.1f} s"
        return f"it has said nothing for {self.silent:.0f} s ({longest})"


class HeartbeatMonitor:
    """How long each running trial has been silent. Names are the caller's."""

    def __init__(self, *, floor: float, ratings: int, lists: bool = False) -> None:
        """``floor`` in seconds, 0 is off; ``ratings`` of train; ``lists``: a trial ranks at its end."""
        self._floor, self._lists = floor, lists
        self._unmeasured = max(FIRST_TIMES * floor, SECONDS_A_RATING * ratings)
        self._trials: dict[str, TrialHeartbeat] = {}
        self._checked_at: float | None = None

    def beat(self, name: str, *, epoch: float | None) -> None:
        """Record a report of ``name``, after an ``epoch`` of so many seconds (None: no epoch was trained)."""
        trial = self._trials.setdefault(name, TrialHeartbeat())
        if epoch is not None:
            # The first silence is a start too; later ones are epochs with what comes between them.
            trial.longest = epoch if trial.longest is None else max(trial.longest, epoch, trial.silent)
        trial.silent = 0.0

    def check(self, running: Iterable[str], now: float) -> dict[str, HungTrial]:
        """Those of ``running`` that hang at ``now``, each returned once a hang; all others are dropped."""
        passed = 0.0 if self._checked_at is None else min(now - self._checked_at, CHECKED_AT_LEAST_EVERY)
        self._checked_at = now
        self._trials = {name: self._trials.get(name, TrialHeartbeat()) for name in running}
        hangs = {}
        for name, trial in self._trials.items():
            trial.silent += passed
            allowed = self._allowed(trial)
            if self._floor > 0 and trial.silent > allowed:
                hangs[name] = HungTrial(trial.silent, allowed, trial.longest)
                trial.silent = 0.0
        return hangs

    def _allowed(self, trial: TrialHeartbeat) -> float:
        if trial.longest is None:
            return self._unmeasured
        measured = max(self._floor, TIMES * trial.longest)
        return max(measured, self._unmeasured) if self._lists else measured
