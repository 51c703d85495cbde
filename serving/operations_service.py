"""The operations service: results of experiments, drift, roll-outs and the journal, off the request path.

Plain Python over the event store, in a process of its own (``operations_replica.py``). All of its state can
be read again from the store, so it may be restarted at any time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.domain import ExperimentState
from serving.drift.drift_monitor import DriftMonitor
from serving.events.audit import changed_fields, lost_events, newest, shares_in
from serving.events.store import EventStore
from serving.experiments.aggregates import Aggregates
from serving.experiments.epoch import ExperimentEpoch, current_epoch
from serving.experiments.event_reader import EventReader
from serving.experiments.experiment_metrics import ACCURACY
from serving.experiments.outcomes import arm_result, as_json, compare
from serving.experiments.preference import compare_preferences
from serving.experiments.segments import UserSegments
from serving.experiments.shadow import Shadows
from serving.operation_settings import OperationSettings
from serving.rollout.controller import RolloutController

JOURNAL_KINDS = (
    "rollout", "drift", "audit", "catalogue", "rules", "gap", "retention", "erasure", "retrain", "loop",
)  # fmt: skip
RESULTS_SECONDS = 1.0
LOOP_ENTRIES = 200
NICE = 10  # lowered priority: requests do not wait for statistics


@dataclass
class TrackedExperiment:
    """Cached state of one experiment; all of it can be read again from the store."""

    epoch: ExperimentEpoch
    reader: EventReader
    shadows: Shadows
    holdout: EventReader
    segments: UserSegments | None = None
    body: JsonObject | None = None
    stale_at: float = 0.0


class Operations:
    """``tick`` updates everything, the other methods read. Thread-safe."""

    def __init__(
        self,
        store: EventStore,
        *,
        resolve: Callable[[str], Path],
        notify: Callable[[str], None],
        set_champion: Callable[[str], str] | None = None,
        settings: OperationSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.settings = settings or OperationSettings()
        self._resolve = resolve
        self._notify = notify
        self._set_champion = set_champion
        self._clock = clock
        self._lock = threading.RLock()
        self._followed: dict[str, TrackedExperiment] = {}
        self._controllers: dict[str, RolloutController] = {}
        self._drift: dict[str, DriftMonitor] = {}

    def tick(self) -> None:
        """Advance roll-outs, read new events, check for drift. A failure of one (a release that cannot be
        opened) does not keep the others from running; the first is raised at the end."""
        failed: list[Exception] = []
        for state in self.store.experiments():
            # First, so that nothing delays a roll-back.
            for part in (self._roll_out, self._read, self._check_drift):
                try:
                    with self._lock:
                        part(state)
                except Exception as error:  # whatever a database or a release raises
                    failed.append(error)
        if failed:
            raise failed[0]

    def _roll_out(self, state: ExperimentState) -> None:
        controller = self._controllers.setdefault(
            state.name,
            RolloutController(
                self.store,
                state.name,
                notify=self._notify,
                set_champion=self._set_champion,
                clock=self._clock,
            ),
        )
        controller.tick()

    def _read(self, state: ExperimentState) -> None:
        self._track(state).reader.catch_up(self._clock())

    def _check_drift(self, state: ExperimentState) -> None:
        watch = self._drift.get(state.name)
        if watch is None:
            began = self._track(state).epoch.began
            watch = self._drift[state.name] = DriftMonitor(
                self.store, self._resolve, self._notify, since=began
            )
        watch.catch_up(state)

    def run(self, stop: threading.Event, *, failed: Callable[[str], None]) -> None:
        """Tick until ``stop``; ``failed`` is called once while the store is unavailable."""
        away = False
        while not stop.wait(self.settings.tick_seconds):
            try:
                self.tick()
                away = False
            except Exception as error:  # whatever a database raises: the next tick may find it back
                if not away:
                    failed(f"{type(error).__name__}: {error}")
                away = True

    def results(self, experiment: str) -> JsonObject:
        """The body of ``GET /v1/experiments/{name}/results``. InputError for an unknown experiment.

        Cached for a second, or for ten times its computation, so that many readers cost no more than one."""
        with self._lock:
            state = self._state(experiment)
            tracked = self._track(state)
            now = self._clock()
            fresh = tracked.body is not None and tracked.body["revision"] == state.revision
            if tracked.body is None or not fresh or now >= tracked.stale_at or now < tracked.body["at"]:
                began = time.perf_counter()
                tracked.body = self._results(state, tracked, now)
                tracked.stale_at = now + max(RESULTS_SECONDS, 10 * (time.perf_counter() - began))
            return tracked.body

    def _results(self, state: ExperimentState, tracked: TrackedExperiment, now: float) -> JsonObject:
        aggregates = tracked.reader.catch_up(now)
        control = state.arms[0].name
        lost = lost_events(self.store, state.name, revision=tracked.epoch.first_revision)
        by = self._segments(state, tracked)
        limits = replace(self.settings.limits, primary=self.settings.metrics_of(state).primary)
        limits = limits.on_scale(*self._scale(state))
        merged = state.interleaved_arms
        treatments = [arm for arm in state.arms[1:] if not arm.shadow and (not merged or arm.name in merged)]
        common: JsonObject = {
            "control": control,
            "limits": limits,
            "now": now,
            "lost_events": lost,
            "treatments": len(treatments),
        }
        activity = None if by is None else by.activity
        measured = partial(compare, aggregates, tracked.epoch.states, covariate=activity, **common)
        preferred = partial(compare_preferences, aggregates, **common)
        # Accuracy is compared by the users' arms, in interleaved experiments too.
        converted = preferred if state.kind == "interleaved" else measured
        names, primary = [metric.name for metric in aggregates.metrics], limits.primary
        comparisons = [
            (measured if metric == ACCURACY else converted)(treatment=arm.name, metric=metric)
            for arm in treatments
            for metric in (*names, ACCURACY)
        ]
        segments = [
            (measured if primary == ACCURACY else converted)(
                treatment=arm.name, metric=primary, segment=segment
            )
            for arm in treatments
            for segment in (by.segments() if by is not None else ())
        ]
        arms = [arm_result(arm.name, aggregates, now) for arm in state.arms]
        held_out = any(past.holdout for past in tracked.epoch.states)
        holdout = arm_result(control, tracked.holdout.catch_up(now), now) if held_out else None
        return as_json(arms, comparisons, aggregates, limits, segments=segments) | {
            "experiment": state.name,
            "revision": state.revision,
            "kind": state.kind,
            "owner": state.owner,
            "shares": {arm.name: arm.share for arm in state.arms},
            "releases": {arm.name: arm.release for arm in state.arms},
            "since": tracked.epoch.began,
            "at": now,
            "lost_events": lost,
            "holdout": None if holdout is None else asdict(holdout),
            "shadows": {name: shadow.as_json() for name, shadow in tracked.shadows.by_arm.items()},
        }

    def drift(self) -> JsonObject:
        """The body of ``GET /v1/drift``."""
        with self._lock:
            return {name: watch.report() for name, watch in self._drift.items()}

    def overview(self) -> JsonObject:
        """The body of ``GET /v1/operations``."""
        return {
            "at": self._clock(),
            "experiments": [self.results(state.name) for state in self.store.experiments()],
            "drift": self.drift(),
            "journal": self.journal(),
            "loop": [asdict(row) for row in newest(self.store, ("loop",), count=LOOP_ENTRIES)],
        }

    def journal(self, *, count: int = 200) -> list[JsonObject]:
        """Journal entries, newest first; audits with shares and changed fields instead of states, and with
        the number of testers instead of their ids."""
        rows = [asdict(row) for row in newest(self.store, JOURNAL_KINDS, count=count)]
        for row in rows:
            if row["kind"] == "audit":
                states = [row["data"].get(name) for name in ("before", "after")]
                changed = changed_fields(*states)
                if "overrides" in changed:
                    changed["overrides"] = [len(testers or {}) for testers in changed["overrides"]]
                row["data"] |= dict(zip(("before", "after"), map(shares_in, states), strict=True))
                row["data"]["changed"] = changed
        return rows

    def _state(self, experiment: str) -> ExperimentState:
        state = self.store.experiment(experiment)
        if state is None:
            known = ", ".join(other.name for other in self.store.experiments()) or "none"
            raise InputError(f"no experiment {experiment!r}; there are: {known}")
        return state

    def _track(self, state: ExperimentState) -> TrackedExperiment:
        """The tracked state of an experiment; restarted at a new epoch."""
        tracked = self._followed.get(state.name)
        if tracked is not None and tracked.epoch.states[-1].revision == state.revision:
            return tracked
        epoch = current_epoch(self.store, state)
        if tracked is not None and tracked.epoch.first_revision == epoch.first_revision:
            tracked.epoch = epoch
            return tracked
        shadows = Shadows()
        aggregates = self._empty(state, arms=frozenset(arm.name for arm in state.arms))
        reader = EventReader(
            self.store, state.name, aggregates, revision=epoch.first_revision, also=shadows.add
        )
        # Exposures of the holdout are stored under another experiment name, outside of the comparison.
        held_out = self._empty(state, arms=frozenset({state.arms[0].name}))
        holdout = EventReader(self.store, f"{state.name}:holdout", held_out, revision=epoch.first_revision)
        fresh = self._followed[state.name] = TrackedExperiment(epoch, reader, shadows, holdout)
        return fresh

    def _empty(self, state: ExperimentState, *, arms: frozenset[str]) -> Aggregates:
        settings, measured = self.settings, self.settings.metrics_of(state)
        return Aggregates(
            arms=arms,
            window_seconds=settings.window_seconds,
            metrics=tuple(metric.on_scale(*self._scale(state)) for metric in measured.metrics),
            slow_milliseconds=settings.limits.p99_milliseconds,
            interleaved=state.kind == "interleaved",
        )

    def _scale(self, state: ExperimentState) -> tuple[float, float]:
        """The rating scale of the first arm's release; 1 to 5 where it cannot be read."""
        try:
            manifest = json.loads((self._resolve(state.arms[0].release) / "manifest.json").read_text())
            scale = manifest["dataset"]["scale"]
            return float(scale["low"]), float(scale["high"])
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return 1.0, 5.0

    def _segments(self, state: ExperimentState, tracked: TrackedExperiment) -> UserSegments | None:
        """The segments by the first arm's release, None before it is loaded."""
        if tracked.segments is None:
            watch = self._drift.get(state.name)
            release = watch.release_of(state.arms[0].release) if watch else None
            if release is None:
                return None
            tracked.segments = UserSegments(release, self.settings.segments)
        tracked.segments.add(tracked.reader.aggregates.users)
        return tracked.segments
