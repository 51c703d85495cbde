"""Fan-out of a run's events to its listeners: journal, state, progress, tracker, webhooks.

A sign that nearly every trial shows would drown the others: people hear of the first and, at the end, how
many there were. Journal, tracker and results.json keep every one.
"""

from __future__ import annotations

import time
from dataclasses import replace

from recsys.notifications import Notifier
from recsys.training.trial_types import EpochReport, EventKind, RunEvent, TrialResult, TrialSpec, TrialStatus
from search.run.progress import ProgressDisplay
from search.run.projection import Projector
from search.run.run_state import RunState
from search.storage.run_dir import RunFolder
from search.tracking import Tracker

REPORTED_ONCE = frozenset({EventKind.GRADIENT})  # a large first step is the rule without a warm-up


class FanOutListener:
    """A Listener that passes everything on. Events are stored on disk before they are sent."""

    def __init__(
        self,
        run: RunFolder,
        run_state: RunState,
        progress: ProgressDisplay,
        tracker: Tracker,
        notifier: Notifier,
        projector: Projector,
    ) -> None:
        self._run, self._run_state, self._progress = run, run_state, progress
        self._tracker, self._notifier, self._projector = tracker, notifier, projector

    def trial_started(self, spec: TrialSpec) -> None:
        self._run_state.started(spec)
        self._tracker.trial_started(spec)
        self._progress.trial_started(spec)

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        self._run_state.reported(spec.number, report)
        self._projector.epoch(spec, report)
        self._tracker.epoch(spec, report)
        self._progress.epoch(spec, report)

    def event(self, event: RunEvent) -> None:
        self._run.event(event)
        self._run_state.noted(event)
        self._tracker.event(event)
        if event.kind in REPORTED_ONCE:
            if self._run_state.signs[event.kind.value] > 1:
                return
            event = replace(event, message=f"{event.message}; later trials' are only counted")
        self._notifier.event(event)
        self._progress.event(event)

    def trial_finished(self, result: TrialResult) -> None:
        new_best = self._run_state.ended(result)
        self._projector.ended(result)
        self._tracker.trial_finished(result)
        self._progress.trial_finished(result)
        if result.status is TrialStatus.FAILED:
            self.event(
                RunEvent(
                    EventKind.TRIAL_FAILED,
                    at=time.time(),
                    trial=result.spec.number,
                    message=result.error,
                    action="recorded; the search goes on",
                )
            )
        if new_best is not None:
            self.event(new_best)
