"""Ray Tune's callbacks, converted to our own values and passed to a Listener.

Each row of a trial becomes an EpochReport, RunEvents and, at its end, the TrialResult read from its
folder. A trial that has said nothing for too long loses its process; one whose process died too often gets
a result that says so.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from recsys.training.serialization import event_from_json
from recsys.training.trial_types import EpochReport, EventKind, RunEvent, TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.storage.trial_dir import CHECKPOINT, RESULT, read_result, trial_folder, write_failure
from search.tune.heartbeat import HeartbeatMonitor, HungTrial
from search.tune.ray_internals import actor_of


class Listener(Protocol):
    """Whoever follows a run."""

    def trial_started(self, spec: TrialSpec) -> None: ...

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None: ...

    def event(self, event: RunEvent) -> None: ...

    def trial_finished(self, result: TrialResult) -> None: ...


@dataclass
class RunCallback(Callback):  # type: ignore[misc]
    """Passes on what happens to ``listener``; calls ``tick`` after every step of Tune's loop.

    ``is_abandoned(number)``: whether a trial that died is not tried again."""

    run: Path
    listener: Listener
    tick: Callable[[], None]
    is_abandoned: Callable[[int], bool]
    silence: HeartbeatMonitor
    fatal: str = ""
    _ended: set[int] = field(default_factory=set)
    _hung: dict[str, HungTrial] = field(default_factory=dict)  # by Tune's id of a trial

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.listener.trial_started(spec_of(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: JsonObject, **info: Any
    ) -> None:
        spec = spec_of(trial)
        report = EpochReport(**json.loads(result["report"])) if result.get("report") else None
        now = report.seconds if report is not None and "trained" in result else None
        self.silence.beat(trial.trial_id, epoch=now)
        for row in json.loads(result.get("events") or "[]"):
            self.listener.event(event_from_json(row))
        if report is not None:
            self.listener.epoch(spec, report)
        if result.get("fatal"):
            self.fatal = str(result["fatal"])
        elif result.get("done"):
            self._end(spec)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        spec = spec_of(trial)
        final = self.is_abandoned(spec.number)
        hang = self._hung.pop(trial.trial_id, None)
        if hang is not None:
            self.listener.event(_hang_event(hang, trial, final=final))
        if not final:
            return
        folder = trial_folder(self.run, spec.number)
        if not (folder / RESULT).exists():
            end = "its process died" if hang is None else "its process stopped responding and was ended"
            write_failure(folder, spec, error=f"{end}; those that took over did no better")
        self._end(spec)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._end_hung(trials)
        self.tick()

    def _end_hung(self, trials: list[Trial]) -> None:
        """End the processes of trials that hang. Ray kills outright (SIGKILL) one that does not answer
        within seconds; Tune then sees a death like any other, and the trial is assigned again."""
        running = {trial.trial_id: trial for trial in trials if actor_of(trial) is not None}
        for name, hang in self.silence.check(running, time.monotonic()).items():
            self._hung[name] = hang
            ray.kill(actor_of(running[name]))

    def __getstate__(self) -> JsonObject:
        """Empty: Tune pickles its callbacks, but a run is resumed from its journal."""
        return {}

    def _end(self, spec: TrialSpec) -> None:
        folder = trial_folder(self.run, spec.number)
        if spec.number in self._ended or not (folder / RESULT).exists():
            return
        self._ended.add(spec.number)
        result = read_result(folder)
        if result.status is not TrialStatus.STOPPED:
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        self.listener.trial_finished(result)


def _hang_event(hang: HungTrial, trial: Trial, *, final: bool) -> RunEvent:
    then = "recorded as failed" if final else "it continues from its last checkpoint in another"
    return RunEvent(
        EventKind.UNRESPONSIVE,
        at=time.time(),
        trial=spec_of(trial).number,
        epoch=int(trial.run_metadata.last_result.get("epoch", 0)),
        value=hang.silent,
        threshold=hang.allowed,
        message=hang.described(),
        action=f"its process is ended; {then}",
    )


def spec_of(trial: Trial) -> TrialSpec:
    """The spec of a trial as Tune knows it."""
    return TrialSpec(**trial.config["spec"])
