"""Where a search will end: the hours that its remaining trials need, and how many the budget lets it reach.

Calibrated by the epochs that were trained: seconds an epoch and the share of the planned epochs that a trial
really trains, by kind of trial. Needed hours are never clipped at the cap.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from clusters.forecast import mean_epochs
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.training.trial_types import EpochReport, TrialResult, TrialSpec, TrialStatus
from search.config.plan import SUBJECT, SearchPlan
from search.config.tracks import search_family
from search.run.budget import Meter, hours
from search.run.run_state import RunningTrial, RunState
from search.sampling.lanes import Lane, Lanes
from search.sampling.trial_slots import TrialSlot

COUNTED_BY_TRIALS = ("formula", "template", "start-from", "search")  # what --trials counts
ENDED_BY_ITSELF = (TrialStatus.FINISHED, TrialStatus.PRUNED)
LISTS = ("lists", "")  # list trials are of one kind
FIRST_EPOCHS = 2  # of one trial, before the first forecast is made


@dataclass(frozen=True)
class Projection:
    """The end of a run as seen now. ``reached`` of ``planned`` trials end within ``end_hours``; all of them
    would need ``needed_hours``. ``same_trials`` is the ``--trials`` of an equal run."""

    planned: int
    reached: int
    used_hours: float
    needed_hours: float
    end_hours: float
    same_trials: int | None = None

    @property
    def fits(self) -> bool:
        return self.reached >= self.planned

    def text(self) -> str:
        """One clause for the progress line."""
        if self.fits:
            return f"about {hours(max(self.needed_hours - self.used_hours, 0.0))} left"
        text = (
            f"needs {hours(self.needed_hours)}, will end at {hours(self.end_hours)} after about "
            f"{self.reached} of {self.planned} trials"
        )
        return text + (
            "" if self.same_trials is None else f"; --trials {self.same_trials} would change nothing"
        )


@dataclass
class EpochTimes:
    """Seconds and counts of trained epochs of one kind of trial."""

    seconds: float = 0.0
    epochs: int = 0
    shares: list[float] = field(default_factory=list)  # trained / planned epochs of trials that have ended

    @property
    def mean(self) -> float | None:
        return self.seconds / self.epochs if self.epochs else None


class Projector:
    """Follows the epochs of a run and projects its end.

    Args:
        plan: The run's plan.
        slots: Its trials in starting order; () for trials given as specs.
        run_state: The running and the ended trials.
        meter: The run's clock and caps.
    """

    def __init__(
        self, plan: SearchPlan, slots: Sequence[TrialSlot], run_state: RunState, meter: Meter
    ) -> None:
        self.lanes = Lanes(Lane("cpu", plan.concurrency or 2, 1.0))
        self._plan, self._slots, self._run_state, self._meter = plan, tuple(slots), run_state, meter
        self._times: dict[tuple[str, str], EpochTimes] = defaultdict(EpochTimes)
        for result in run_state.finished.values():
            for report in result.reports:
                self.epoch(result.spec, report)
            self.ended(result)

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        """Count a trained epoch."""
        if math.isfinite(report.seconds):
            times = self._times[_kind(spec.family, spec.origin)]
            times.seconds += report.seconds
            times.epochs += 1

    def ended(self, result: TrialResult) -> None:
        """Learn how much of its planned epochs a trial trained; a list trial is an epoch."""
        kind = _kind(result.spec.family, result.spec.origin)
        if kind == LISTS and result.list_metrics:
            self._times[kind].seconds += result.seconds
            self._times[kind].epochs += 1
            self._times[kind].shares.append(1.0)
        elif result.status in ENDED_BY_ITSELF:
            share = len(result.reports) / max(result.spec.epochs, 1)
            self._times[kind].shares.append(share)

    def epoch_seconds(self, families: Collection[str]) -> float | None:
        """Mean seconds of an epoch of these families; None where none was trained."""
        rows = [times for (family, _), times in self._times.items() if family in families]
        epochs = sum(times.epochs for times in rows)
        return sum(times.seconds for times in rows) / epochs if epochs else None

    @property
    def calibrated(self) -> bool:
        """Whether enough was trained for a forecast."""
        return any(times.epochs >= FIRST_EPOCHS for kind, times in self._times.items() if kind != LISTS)

    def project(self, now: float) -> Projection | None:
        """The end as seen at ``now`` (Unix seconds); None before the first epochs."""
        if not self.calibrated:
            return None
        meter, run_state = self._meter, self._run_state
        used = meter.hours(now)
        ahead: dict[str, list[float]] = defaultdict(list)  # seconds of each trial that has not ended, by lane
        for row in run_state.running.values():
            ahead[self._lane(row.spec.family)].append(self._remaining_seconds(row, now))
        for seconds in ahead.values():
            seconds.sort()
        started = {*run_state.finished, *run_state.running}
        for slot in self._slots:
            if slot.number not in started:
                epoch, epochs = self._expected(slot.family, slot.origin, slot.epochs(self._plan))
                ahead[self._lane(slot.family)].append(epoch * epochs)
        named = [seconds for lane in ahead.values() for seconds in lane]
        unnamed = max(run_state.remaining - len(named), 0)  # trials given as specs, not started
        mean = sum(named) / len(named) if named else run_state.trial_seconds()
        ahead[self._lane(SUBJECT)] += [mean] * unnamed
        at_once = {lane.name: lane.at_once for lane in (self.lanes.cpu, self.lanes.gpu) if lane is not None}
        longest = max((sum(seconds) / at_once[lane] for lane, seconds in ahead.items()), default=0.0)
        needed = used + longest / 3600 + max(meter.budget.finish_hours, meter.finish_seconds / 3600)
        room = (meter.search_end_hours - used) * 3600
        if longest <= room:
            return Projection(run_state.planned, run_state.planned, used, needed, needed)
        reached = len(run_state.finished)
        for lane, seconds in ahead.items():
            reached += sum(total <= room * at_once[lane] for total in accumulate(seconds))
        return Projection(
            run_state.planned,
            reached,
            used,
            needed,
            max(meter.budget.cap_hours, used),
            self._same_trials(reached),
        )

    def _lane(self, family: str) -> str:
        return self.lanes.lane(search_family(family).uses_gpu).name

    def _remaining_seconds(self, trial: RunningTrial, now: float) -> float:
        """Seconds that a running trial still needs; its epochs take at least what the last has taken."""
        spec, so_far = trial.spec, max(now - trial.since, 0.0)
        epoch, epochs = self._expected(spec.family, spec.origin, spec.epochs)
        done = 0 if trial.report is None else trial.report.epoch
        return max((epochs - done) * max(epoch, so_far) - so_far, 0.0)

    def _same_trials(self, reached: int) -> int | None:
        if not self._slots:
            return None
        counted = sum(
            slot.origin in COUNTED_BY_TRIALS and slot.track == "rating" for slot in self._slots[:reached]
        )
        return counted if 2 <= counted < self._plan.trials else None

    def _expected(self, family: str, origin: str, epochs: int) -> tuple[float, float]:
        """Seconds of an epoch of such a trial (by its kind, its family, or any), and how many it trains."""
        kind = self._times.get(_kind(family, origin), EpochTimes())
        mean = kind.mean
        if _kind(family, origin) == LISTS:
            return mean or 0.0, 1.0  # before a list trial has ended: nothing beside the others
        for times in (
            [row for (name, _), row in self._times.items() if name == family],
            list(self._times.values()),
        ):
            trained = sum(row.epochs for row in times)
            if mean is None and trained:
                mean = sum(row.seconds for row in times) / trained
        pruning = self._plan.pruning
        if kind.shares:
            expected = epochs * sum(kind.shares) / len(kind.shares)
        elif pruning.enabled and origin in ("search", "start-from") and family in pruning.families:
            expected = mean_epochs(epochs, grace=pruning.grace_epochs, reduction=pruning.reduction)
        else:
            expected = float(epochs)
        return mean or 0.0, expected


def _kind(family: str, origin: str) -> tuple[str, str]:
    if family in LIST_FAMILIES:
        return LISTS
    return family, origin if origin in ("reference", "baseline") else ""
