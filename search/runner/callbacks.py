"""What Ray Tune tells of its trials, passed on as our own values.

Each row of a trial becomes an EpochReport, RunEvents and, at its end, the TrialResult read from its
folder; a trial whose process died too often gets a result that says so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial

from recsys.training.trials import EpochReport, EventKind, RunEvent, TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.runner.trial_files import CHECKPOINT, RESULT, read_result, trial_folder, write_failure


class Listener(Protocol):
    """Whoever follows a run."""

    def trial_started(self, spec: TrialSpec) -> None: ...

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None: ...

    def event(self, event: RunEvent) -> None: ...

    def trial_finished(self, result: TrialResult) -> None: ...


@dataclass
class RunCallback(Callback):  # type: ignore[misc]
    """Passes on what happens to ``listener``; calls ``tick`` after every step of Tune's loop.

    ``gave_up(number)`` says whether a trial that died is not tried again."""

    run: Path
    listener: Listener
    tick: Callable[[], None]
    gave_up: Callable[[int], bool]
    fatal: str = ""
    _ended: set[int] = field(default_factory=set)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.listener.trial_started(_spec(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: JsonObject, **info: Any
    ) -> None:
        spec = _spec(trial)
        for row in json.loads(result.get("events") or "[]"):
            self.listener.event(RunEvent(**{**row, "kind": EventKind(row["kind"])}))
        if result.get("report"):
            self.listener.epoch(spec, EpochReport(**json.loads(result["report"])))
        if result.get("fatal"):
            self.fatal = str(result["fatal"])
        elif result.get("done"):
            self._end(spec)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        spec = _spec(trial)
        if not self.gave_up(spec.number):
            return
        folder = trial_folder(self.run, spec.number)
        if not (folder / RESULT).exists():
            write_failure(folder, spec, error="its process died, and so did those that took over")
        self._end(spec)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self.tick()

    def __getstate__(self) -> JsonObject:
        """Nothing: Tune keeps a pickle of what it was given, a run is resumed from its journal."""
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


def _spec(trial: Trial) -> TrialSpec:
    return TrialSpec(**trial.config["spec"])
