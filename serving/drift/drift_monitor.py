"""Drift monitor: feeds ratings of the event store to the detectors of the releases in service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recsys.data.ratings import RatingScale
from recsys.release.drift_thresholds import CHANGES
from recsys.release.load import load_release
from recsys.release.loaded_release import Release
from recsys.release.profile import unpack
from recsys.release.rating_ensemble import posterior_deviations
from recsys.types import JsonObject
from serving.assignment import Assigner
from serving.domain import ExperimentState, Feedback
from serving.drift.detector import Detector, Observation, SignalState
from serving.events.audit import newest
from serving.events.store import EventStore

KIND = "drift"


@dataclass
class MonitoredRelease:
    """A monitored release; ``detector`` is None where it was packed without a current profile."""

    release: Release
    detector: Detector | None
    alarms: list[SignalState] = field(default_factory=list)


@dataclass
class DriftMonitor:
    """Detectors by release; a user's ratings go to the release of their arm.

    ``resolve`` returns the folder of an arm's release; ``notify`` is called with each new alarm; ratings
    before ``since`` are ignored. After a restart the same ratings are read again: an alarm that is in the
    journal is not repeated."""

    store: EventStore
    resolve: Callable[[str], Path]
    notify: Callable[[str], None]
    since: float = 0.0
    watched: dict[str, MonitoredRelease] = field(default_factory=dict)
    _last: int = 0

    def catch_up(self, state: ExperimentState) -> list[SignalState]:
        """Read ratings stored since the last call; returns new alarms, which are journalled too."""
        assigner = Assigner(state)
        by_arm = {arm.name: self._watch(arm.release) for arm in state.arms if arm.share > 0}
        batches: dict[str, list[Observation]] = {}
        for number, event in self.store.numbered_feedback(kind="rating", since=self.since, after=self._last):
            self._last = number
            watched = by_arm.get(assigner.assign(event.user_id).arm)
            if watched is not None and watched.detector is not None:
                batches.setdefault(watched.release.release_id, []).append(observed(watched.release, event))
        new: list[SignalState] = []
        for release_id, observations in batches.items():
            monitored = self.watched[release_id]
            assert monitored.detector is not None
            alarms = monitored.detector.observe(observations)
            monitored.alarms += alarms
            for alarm in alarms:
                if self._journal(monitored, alarm):
                    new.append(alarm)
        return new

    def release_of(self, spec: str) -> Release | None:
        """The loaded release of an arm's specification, None while it is not monitored."""
        folder = self.resolve(spec)
        releases = (watched.release for watched in self.watched.values() if watched.release.folder == folder)
        return next(releases, None)

    def _watch(self, spec: str) -> MonitoredRelease:
        folder = self.resolve(spec)
        for monitored in self.watched.values():
            if monitored.release.folder == folder:
                return monitored
        release = load_release(folder, verify=False)
        packed = release.profile()
        profile = None if packed is None else unpack(*packed)
        detector = None if profile is None else Detector(profile)
        return self.watched.setdefault(release.release_id, MonitoredRelease(release, detector))

    def _journal(self, watched: MonitoredRelease, alarm: SignalState) -> bool:
        """Journal an alarm; False for one that is in the journal already."""
        row = signal_row(watched, alarm)
        release = watched.release.release_id
        for entry in newest(self.store, (KIND,), subject=release, count=1000):
            if (entry.data.get("signal"), entry.data.get("since")) == (alarm.name, alarm.since):
                return False
        self.store.append(KIND, release, {"event": "alarm", **row})
        self.notify(
            f"drift of {alarm.name}: {alarm.distance:.3f} over its threshold {alarm.threshold:.3f}; "
            f"{advice(watched.release)}"
        )
        return True

    def report(self) -> JsonObject:
        """The signals by release, and advice where one drifted."""
        releases = []
        for release_id, watched in self.watched.items():
            row: JsonObject = {"release_id": release_id, "folder": str(watched.release.folder)}
            if watched.detector is None:
                row |= {"note": "packed without a current profile: make the release again to monitor it"}
            else:
                row |= _watched_row(watched, watched.detector)
                if watched.alarms:
                    row["advice"] = advice(watched.release)
            releases.append(row)
        return {"releases": releases}


def _watched_row(watched: MonitoredRelease, detector: Detector) -> JsonObject:
    profile = detector.profile
    intervals = watched.release.manifest.rating_blend.intervals
    blind = sorted(profile.signals.keys() - detector.watched.keys())
    row: JsonObject = {
        "events": detector.events,
        "windows": detector.windows,
        "window": min((signal["window"] for signal in detector.watched.values()), default=0),
        "ordered_by": profile.error["ordered_by"],
        "signals": [signal_row(watched, signal) for signal in detector.signals.values()],
        "drifted": sorted({alarm.name for alarm in watched.alarms}),
        # The change that each signal detects, and within how many ratings; None: too few ratings.
        "power": {name: signal["power"] for name, signal in profile.signals.items()},
        "not_watched": [f"{name}: too few ratings to detect {CHANGES[name]}" for name in blind],
        "error": {
            "online": detector.error_sum / detector.error_count if detector.error_count else None,
            "ratings": detector.error_count,
            "unseen_at_packing": profile.error["mean"],
        },
        "coverage": {  # of the prediction intervals
            "online": detector.covered / detector.interval_count if detector.interval_count else None,
            "ratings": detector.interval_count,
            "level": None if intervals is None else intervals.level,
        },
    }
    if not detector.watched:
        row["note"] = "too few ratings: no signal has the power to detect a relevant change"
    return row


def advice(release: Release) -> str:
    """The command that retrains on the new ratings, starting from the release's run."""
    run = release.folder.parent
    return (
        "retrain on newer ratings: `python -m serving loop` does, or python search/breakthrough.py "
        f"--data {run}+EVENTS --start-from {run}"
    )


def signal_row(watched: MonitoredRelease, signal: SignalState) -> JsonObject:
    """A signal as JSON; ``largest`` names the bins that changed most."""
    return {
        "signal": signal.name,
        "distance": signal.distance,
        "threshold": signal.threshold,
        "false_alarm_rate": signal.false_alarm_rate,
        "windows_over": signal.windows_over,
        "since": signal.since,
        "drifted": signal.drifted,
        "largest": [
            {"where": label(watched, signal.name, index), "expected": expected, "seen": observed}
            for index, expected, observed in signal.largest
        ],
    }


def label(watched: MonitoredRelease, signal: str, index: int) -> str:
    """The text of a signal's bin."""
    scale = watched.release.manifest.dataset.scale
    if signal == "genre_mix":
        return watched.release.items.genre_names[index]
    if signal in ("user_activity", "item_popularity"):
        return "none" if index == 0 else f"{2 ** (index - 1)} to {2**index - 1} ratings"
    if signal in ("unknown_users", "unknown_items"):
        return ("unknown", "known")[index]
    if signal == "coverage":
        return ("outside", "inside")[index]
    if signal == "error":
        return ("sum of errors", "ratings")[index]
    bins = 10 if signal == "ratings" else 20
    width = (scale.high - scale.low) / bins
    return f"{scale.low + index * width:.2f} to {scale.low + (index + 1) * width:.2f} stars"


def observed(release: Release, event: Feedback) -> Observation:
    """A rating as the release's rows, with whether it is inside its prediction interval."""
    user = release.users.row(event.user_id)
    item = None if event.item_id is None else release.items.ids.row(event.item_id)
    inside = None
    intervals, stars, value = release.manifest.rating_blend.intervals, event.predicted, event.value
    if intervals and user is not None and item is not None and stars is not None and value is not None:
        scale = RatingScale(release.manifest.dataset.scale.low, release.manifest.dataset.scale.high)
        deviations = None
        if intervals.scaled:
            deviations = posterior_deviations(release.members, user, np.array([item]), scale)
        ratings = len(release.histories(user).items)
        low, high = intervals.ends(np.array([stars]), ratings, scale, deviations)
        inside = bool(low[0] <= value <= high[0])
    return Observation(
        at=event.at,
        user=-1 if user is None else user,
        item=-1 if item is None else item,
        value=float("nan") if event.value is None else event.value,
        predicted=event.predicted,
        inside=inside,
    )
