"""Drift detection in a stream of rating events.

Each signal has its own window (``recsys.release.drift_thresholds``): a full window is compared with the
release's profile, and a signal alarms when it exceeds its calibrated threshold in ``CONSECUTIVE`` windows.
The error is compared with that on held-out ratings, so that a release which is bad from its first day is
detected too. Signals without enough power are not watched. Pure: no clock and no store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from recsys.release.drift_signals import Events
from recsys.release.drift_thresholds import CONSECUTIVE, distances
from recsys.release.profile import Profile, window_counts
from recsys.types import JsonObject


@dataclass(frozen=True)
class Observation:
    """A rating event. ``user`` and ``item`` are the release's rows, -1 for unknown; ``predicted`` is None
    where no prediction was made before the rating; ``inside``: whether ``value`` is in the prediction
    interval, None without one."""

    at: float
    user: int
    item: int
    value: float
    predicted: float | None
    inside: bool | None = None


@dataclass(frozen=True)
class SignalState:
    """A signal: ``distance`` of the latest window, ``since`` when it first exceeded its threshold."""

    name: str
    distance: float
    threshold: float
    false_alarm_rate: float
    windows_over: int
    since: float | None
    drifted: bool
    # (bin, expected share, observed share) of the bins with the largest differences.
    largest: tuple[tuple[int, float, float], ...] = ()


@dataclass
class Detector:
    """Detector of one release: ``observe`` events in the order of time, read ``signals``.

    ``error_sum`` and ``error_count`` accumulate the absolute error of known users on known items, in stars;
    ``covered`` counts ratings inside their prediction interval, ``interval_count`` those that have one."""

    profile: Profile
    events: int = 0
    windows: int = 0
    error_sum: float = 0.0
    error_count: int = 0
    covered: int = 0
    interval_count: int = 0
    signals: dict[str, SignalState] = field(default_factory=dict)
    _pending: dict[int, list[Observation]] = field(init=False)

    def __post_init__(self) -> None:
        self._pending = {signal["window"]: [] for signal in self.watched.values()}

    @property
    def watched(self) -> JsonObject:
        """The signals of the profile with enough power."""
        return {name: signal for name, signal in self.profile.signals.items() if signal["watched"]}

    def observe(self, observations: Iterable[Observation]) -> list[SignalState]:
        """Add events; returns the signals that began to alarm."""
        alarms: list[SignalState] = []
        for observation in observations:
            self.events += 1
            if observation.predicted is not None and min(observation.user, observation.item) >= 0:
                self.error_sum += abs(observation.value - observation.predicted)
                self.error_count += 1
                self.interval_count += observation.inside is not None
                self.covered += bool(observation.inside)
            for size, pending in self._pending.items():
                pending.append(observation)
                if len(pending) >= size:
                    alarms += self._close_window(size)
        return alarms

    def _close_window(self, size: int) -> list[SignalState]:
        window, self._pending[size] = self._pending[size], []
        self.windows += 1
        missing = float("nan")
        events = Events(
            users=np.array([row.user for row in window]),
            items=np.array([row.item for row in window]),
            values=np.array([row.value for row in window]),
            predicted=np.array([missing if row.predicted is None else row.predicted for row in window]),
            inside=np.array([missing if row.inside is None else float(row.inside) for row in window]),
        )
        observed = window_counts(self.profile, events)
        alarms = []
        for name, reference in self.watched.items():
            if reference["window"] != size:
                continue
            expected = np.array(reference["shares"]) * reference["weight"]
            distance = float(distances(name, expected, observed[name][None, :])[0])
            state = self._next(name, distance, reference, window[0].at)
            if state.windows_over:
                state = replace(state, largest=_largest(expected, observed[name]))
            before = self.signals.get(name)
            self.signals[name] = state
            if state.drifted and not (before and before.drifted):
                alarms.append(state)
        return alarms

    def _next(self, name: str, value: float, reference: JsonObject, at: float) -> SignalState:
        before = self.signals.get(name)
        over = value > reference["threshold"]
        running = (before.windows_over if before else 0) + 1 if over else 0
        since = (before.since if before and before.windows_over else at) if over else None
        return SignalState(
            name=name,
            distance=value,
            threshold=reference["threshold"],
            false_alarm_rate=reference["false_alarm_rate"],
            windows_over=running,
            since=since,
            drifted=running >= CONSECUTIVE,
        )


def _largest(expected: np.ndarray, observed: np.ndarray) -> tuple[tuple[int, float, float], ...]:
    before, now = expected / max(expected.sum(), 1e-12), observed / max(observed.sum(), 1e-12)
    order = np.argsort(-np.abs(now - before))[:3]
    return tuple((int(index), float(before[index]), float(now[index])) for index in order)
