"""Drift, seen in a stream of rating events.

Distributions: each full window of events is held against the release's profile; a signal alarms when it
is over its calibrated threshold in ``CONSECUTIVE`` windows running. A change of the online error within
the stream: ADWIN (Bifet and Gavalda, 2007; by river) on the absolute error, which needs no window
length, and alarms only when the error rose above what calibration saw (people rate in bursts, so their
errors come in runs, which ADWIN alone takes for changes: 9 of 10 slices of ML-100K). Pure: no clock, no
store; whoever feeds it tells the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from river.drift import ADWIN

from recsys.release.profile import CONSECUTIVE, HEADROOM, Events, Profile, distance, histograms

# ADWIN's chance of a false cut; set by the clean row of tests/benchmarks/simulations/drift_streams.py.
ERROR_DELTA = 1e-4


@dataclass(frozen=True)
class Observation:
    """One rating event. ``user``, ``item`` are the release's rows, -1 for unknown; ``predicted`` None
    where no prediction was made before ``value`` was known."""

    at: float
    user: int
    item: int
    value: float
    predicted: float | None


@dataclass(frozen=True)
class SignalState:
    """How one signal stands: ``distance`` of the latest window, ``since`` when it first went over."""

    name: str
    distance: float
    threshold: float
    false_alarm_rate: float
    windows_over: int
    since: float | None
    drifted: bool
    # (label index, expected share, share seen): where most of the distance comes from.
    largest: tuple[tuple[int, float, float], ...] = ()


@dataclass
class Detector:
    """Feed it events in time order with ``observe``; read ``signals``. One for each release."""

    profile: Profile
    events: int = 0
    windows: int = 0
    signals: dict[str, SignalState] = field(default_factory=dict)
    _pending: list[Observation] = field(default_factory=list)
    _risen: bool = False  # ADWIN's latest cut was a rise
    _adwin: ADWIN = field(default_factory=lambda: ADWIN(delta=ERROR_DELTA))

    def observe(self, observations: Iterable[Observation]) -> list[SignalState]:
        """Take in events; gives the signals that alarm now and did not before."""
        alarms: list[SignalState] = []
        for observation in observations:
            self.events += 1
            self._pending.append(observation)
            alarms += self._error(observation)
            if len(self._pending) >= self.profile.window:
                alarms += self._close_window()
        return alarms

    def _error(self, observation: Observation) -> list[SignalState]:
        if observation.predicted is None:
            return []
        before = self.signals.get("error_change")
        if before is not None and before.drifted:
            return []
        level = self._adwin.estimation
        self._adwin.update(abs(observation.value - observation.predicted))
        now = self._adwin.estimation
        if self._adwin.drift_detected:
            self._risen = now > level
        rose = self._risen and now > self._usual_error()
        state = SignalState(
            name="error_change",
            distance=float(self._adwin.estimation),
            threshold=self._usual_error(),
            false_alarm_rate=ERROR_DELTA,
            windows_over=int(rose),
            since=observation.at if rose else None,
            drifted=rose,
        )
        self.signals["error_change"] = state
        return [state] if rose else []

    def _usual_error(self) -> float:
        """The largest mean absolute error that a window of the calibration had, in stars."""
        rise = float(self.profile.signals["error"]["threshold"]) / HEADROOM
        return float(self.profile.error["mean"] or 0.0) * (1 + rise)

    def _close_window(self) -> list[SignalState]:
        window, self._pending = self._pending, []
        self.windows += 1
        missing = float("nan")
        events = Events(
            users=np.array([row.user for row in window]),
            items=np.array([row.item for row in window]),
            values=np.array([row.value for row in window]),
            predicted=np.array([missing if row.predicted is None else row.predicted for row in window]),
        )
        profile = self.profile
        seen = histograms(
            events,
            user_bins=profile.user_bins,
            item_bins=profile.item_bins,
            genres=profile.genres,
            scale=profile.scale,
        )
        alarms = []
        for name, reference in profile.signals.items():
            expected = np.array(reference["shares"]) * reference["weight"]
            state = self._next(name, distance(name, expected, seen[name]), reference, window[0].at)
            if state.windows_over:
                state = _with_largest(state, expected, seen[name])
            before = self.signals.get(name)
            self.signals[name] = state
            if state.drifted and not (before and before.drifted):
                alarms.append(state)
        return alarms

    def _next(self, name: str, value: float, reference: dict[str, float], at: float) -> SignalState:
        before = self.signals.get(name)
        over = value > reference["threshold"] > 0
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


def _with_largest(state: SignalState, expected: np.ndarray, seen: np.ndarray) -> SignalState:
    before, now = expected / max(expected.sum(), 1e-12), seen / max(seen.sum(), 1e-12)
    order = np.argsort(-np.abs(now - before))[:3]
    largest = tuple((int(place), float(before[place]), float(now[place])) for place in order)
    return SignalState(**{**state.__dict__, "largest": largest})
