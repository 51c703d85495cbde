"""What runs beside the service and never in a request: results, drift, roll-outs, one journal to read.

Plain Python over the event store; serving/app.py gives it a process of its own. All it knows can be
read again from the store, so it may die and come back at any time.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.comparison.outcomes import Limits, arm_result, as_json, compare, entered
from serving.comparison.reading import Reader
from serving.comparison.shadow import Shadows
from serving.comparison.tally import Tally
from serving.drift.watch import DriftWatch
from serving.events.store import EventStore
from serving.records import ExperimentState
from serving.rollout.controller import Controller

TOLD = ("rollout", "drift", "audit", "gap", "retention", "erasure", "retrain")


@dataclass(frozen=True)
class OperationSettings:
    """``window_seconds`` after a user's first exposure their outcome is fixed. ``retrain`` is a command
    started at most once a ``retrain_hours`` when drift is found; () is off."""

    window_seconds: float = 86_400.0
    tick_seconds: float = 1.0
    limits: Limits = field(default_factory=Limits)
    retrain: Sequence[str] = ()
    retrain_hours: float = 24.0


class Operations:
    """``tick`` brings everything up to date; the rest reads. Safe to call from several threads."""

    def __init__(
        self,
        store: EventStore,
        *,
        resolve: Callable[[str], Path],
        tell: Callable[[str], None],
        crown: Callable[[str], str] | None = None,
        settings: OperationSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.settings = settings or OperationSettings()
        self._resolve = resolve
        self._tell = tell
        self._crown = crown
        self._clock = clock
        self._lock = threading.RLock()
        self._readers: dict[str, Reader] = {}
        self._shadows: dict[str, Shadows] = {}
        self._controllers: dict[str, Controller] = {}
        self._drift: dict[str, DriftWatch] = {}

    def tick(self) -> None:
        """Read what is new, look for drift, move roll-outs on. Raises what the store raises."""
        with self._lock:
            for state in self.store.experiments():
                self._reader(state).catch_up(self._clock())
                watch = self._drift.setdefault(state.name, DriftWatch(self.store, self._resolve, self._tell))
                if watch.catch_up(state):
                    self._retrain(state.name)
                controller = self._controllers.setdefault(
                    state.name,
                    Controller(self.store, state.name, tell=self._tell, crown=self._crown, clock=self._clock),
                )
                controller.tick()

    def run(self, stop: threading.Event, *, failed: Callable[[str], None]) -> None:
        """Tick until ``stop``; a store that is away is waited for and told once."""
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
        """The body of ``GET /v1/experiments/{name}/results``. InputError for an unknown experiment."""
        with self._lock:
            state = self._state(experiment)
            now = self._clock()
            tally = self._reader(state).catch_up(now)
            history = self.store.experiment_history(experiment, count=10_000)
            control = state.arms[0].name
            holes = sum(int(row.data.get("lost", 0)) for row in self.store.journal(kind="gap"))
            comparisons = [
                compare(
                    tally,
                    control=control,
                    treatment=arm.name,
                    metric=metric,
                    stages=entered(tally, history, control=control, treatment=arm.name),
                    limits=self.settings.limits,
                    now=now,
                    covariate=self._activity(state, tally),
                    holes=holes,
                )
                for arm in state.arms[1:]
                for metric in ("hit_rate", "accuracy")
                if not arm.shadow
            ]
            arms = [arm_result(arm.name, tally, now) for arm in state.arms]
            body = as_json(arms, comparisons, tally)
            shadows = self._shadows[experiment].by_arm
            return body | {
                "experiment": experiment,
                "revision": state.revision,
                "owner": state.owner,
                "shares": {arm.name: arm.share for arm in state.arms},
                "releases": {arm.name: arm.release for arm in state.arms},
                "at": now,
                "lost_events": holes,
                "shadows": {name: found.as_json() for name, found in shadows.items()},
            }

    def drift(self) -> JsonObject:
        """The body of ``GET /v1/drift``."""
        with self._lock:
            return {name: watch.report() for name, watch in self._drift.items()}

    def overview(self) -> JsonObject:
        """The body of ``GET /v1/operations``: everything that the page shows."""
        return {
            "at": self._clock(),
            "experiments": [self.results(state.name) for state in self.store.experiments()],
            "drift": self.drift(),
            "journal": self.journal(),
        }

    def journal(self, *, after: int = 0, count: int = 200) -> list[JsonObject]:
        """The newest ``count`` entries with seq > ``after``, newest first."""
        rows = [row for row in self.store.journal(after=after) if row.kind in TOLD]
        return [asdict(row) for row in rows[-count:]][::-1]

    def _state(self, experiment: str) -> ExperimentState:
        state = self.store.experiment(experiment)
        if state is None:
            known = ", ".join(found.name for found in self.store.experiments()) or "none"
            raise InputError(f"no experiment {experiment!r}; there are: {known}")
        return state

    def _reader(self, state: ExperimentState) -> Reader:
        reader = self._readers.get(state.name)
        if reader is None:
            tally = Tally(arms=frozenset(), window_seconds=self.settings.window_seconds)
            shadows = self._shadows[state.name] = Shadows()
            reader = self._readers[state.name] = Reader(self.store, state.name, tally, also=shadows.see)
            past = self.store.experiment_history(state.name, count=10_000)
            reader.tally.arms = frozenset(arm.name for revision in past for arm in revision.arms)
        reader.tally.arms |= {arm.name for arm in state.arms}
        return reader

    def _activity(self, state: ExperimentState, tally: Tally) -> dict[str, float]:
        """What was known of a user before: the logarithm of their ratings in the first arm's release."""
        watch = self._drift.get(state.name)
        folder = self._resolve(state.arms[0].release)
        for watched in watch.watched.values() if watch else ():
            if watched.release.folder == folder:
                release = watched.release
                rows = {user: release.users.row(user) for user in tally.users}
                ends = release.histories.ends
                return {
                    user: float(np.log1p(ends[row + 1] - ends[row]))
                    for user, row in rows.items()
                    if row is not None
                }
        return {}

    def _retrain(self, experiment: str) -> None:
        """Start the plan's own command, once in a while; its output goes to its own run folder."""
        if not self.settings.retrain:
            return
        started = [row.at for row in self.store.journal(kind="retrain", subject=experiment)]
        if started and self._clock() - started[-1] < self.settings.retrain_hours * 3600:
            return
        command = list(self.settings.retrain)
        self.store.append("retrain", experiment, {"command": json.dumps(command)}, at=self._clock())
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        self._tell(f"{experiment}: drift started {' '.join(command)}")
