"""The state of a running search: trials by state, the best so far, diagnostics.

Pure: fed by whoever hears from the trials, read by the progress display and the budget.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from recsys.text_table import number
from recsys.training.trial_types import (
    MILESTONES,
    EpochReport,
    EventKind,
    RunEvent,
    TrialResult,
    TrialSpec,
    TrialStatus,
)

LAST_EPOCHS = 5
QUICK = 0.25  # quantile of a trial's epochs: how fast the machine can be, one lucky epoch apart
MOST_SLOWDOWN = 3.0  # more is noise: 9 times slower epochs came with a finish of 1.5 times its reserve


@dataclass
class RunningTrial:
    """A trial in progress: its last report, None before its first epoch's end; ``since`` (Unix seconds) that,
    or its start."""

    spec: TrialSpec
    since: float = 0.0
    report: EpochReport | None = None
    epochs: list[float] = field(default_factory=list)  # seconds of each


@dataclass
class RunState:
    """``planned`` trials in all; ``clock()`` returns Unix seconds."""

    planned: int
    clock: Callable[[], float]
    running: dict[int, RunningTrial] = field(default_factory=dict)
    finished: dict[int, TrialResult] = field(default_factory=dict)
    signs: Counter[str] = field(default_factory=Counter)
    epoch_seconds: float = 0.0
    slowdowns: deque[float] = field(default_factory=lambda: deque(maxlen=LAST_EPOCHS))

    @property
    def slowdown(self) -> float:
        """How many times slower this machine is now than it was: the median over the last epochs of their
        seconds by those of the same trial's quick ones, 1 to MOST_SLOWDOWN."""
        if not self.slowdowns:
            return 1.0
        return float(np.clip(np.median(self.slowdowns), 1.0, MOST_SLOWDOWN))

    @property
    def remaining(self) -> int:
        """Trials that have not ended."""
        return self.planned - len(self.finished)

    @property
    def best(self) -> TrialResult | None:
        """The ended trial with the lowest valid rmse."""
        usable = [result for result in self.finished.values() if result.rmse is not None]
        return min(usable, key=lambda result: (result.rmse, result.spec.number), default=None)

    def by_status(self) -> dict[str, int]:
        """How many trials ended how."""
        counts = Counter(result.status for result in self.finished.values())
        return {status.value: counts[status] for status in TrialStatus if counts[status]}

    def signs_text(self) -> str:
        """``signs: gradient_norm x14, posterior_collapse x2``, "" where there was none."""
        counts = ", ".join(f"{name} x{count}" for name, count in self.signs.items())
        return f"signs: {counts}" if counts else ""

    def trial_seconds(self) -> float:
        """Mean seconds of an ended trial, 0 before the first."""
        seconds = [result.seconds for result in self.finished.values()]
        return sum(seconds) / len(seconds) if seconds else 0.0

    def started(self, spec: TrialSpec) -> None:
        self.running[spec.number] = RunningTrial(spec, self.clock())

    def reported(self, number: int, report: EpochReport) -> None:
        if number in self.running:
            self.running[number].report = report
            self.running[number].since = self.clock()
            self._compare(self.running[number].epochs, report.seconds)
        recent = max(self.epoch_seconds * 0.8, report.seconds)
        self.epoch_seconds = recent if math.isfinite(recent) else self.epoch_seconds

    def _compare(self, epochs: list[float], seconds: float) -> None:
        """One more epoch of a trial, whose epochs are of the same work."""
        if not (math.isfinite(seconds) and seconds > 0):
            return
        if epochs:
            self.slowdowns.append(seconds / float(np.quantile(epochs, QUICK)))
        epochs.append(seconds)

    def noted(self, event: RunEvent) -> None:
        if event.kind not in MILESTONES:
            self.signs[event.kind.value] += 1

    def ended(self, result: TrialResult) -> RunEvent | None:
        """Keep ``result``; the event of a new best if it is one."""
        before = self.best
        self.running.pop(result.spec.number, None)
        self.finished[result.spec.number] = result
        if result.rmse is None or (
            before is not None and before.rmse is not None and result.rmse >= before.rmse
        ):
            return None
        return RunEvent(
            EventKind.NEW_BEST,
            at=self.clock(),
            trial=result.spec.number,
            epoch=result.best_epoch,
            value=result.rmse,
            message=(
                f"new best: trial {result.spec.number} ({result.spec.name}), "
                f"loss {number(result.loss)}, rmse {result.rmse:.4f} stars"
            ),
        )
