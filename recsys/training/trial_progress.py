"""Progress of a trial between two epochs: a checkpoint without the trainer's state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import ModelArtifact
from recsys.training.diagnostics import DiagnosticMonitor
from recsys.training.trial_types import (
    ConfigChange,
    EpochReport,
    RunEvent,
    TrialResult,
    TrialSpec,
    TrialStatus,
)


@dataclass(eq=False)
class TrialProgress:
    """Reports, events and the best epoch of a trial so far.

    Attributes:
        spec: What is trained.
        config: The family's config as it is now, after recoveries.
        reports: One per epoch.
        events: Diagnostics and recoveries, oldest first.
        recoveries: How often each kind of fault was recovered from, by ``EventKind`` value.
        config_changes: What recoveries changed.
        best_epoch: Lowest valid rmse (the last epoch without early stopping); None before the first.
        best_member: Its model.
        best_predictions: Its predictions of the valid slice, (n,) stars.
        seconds: Of training and evaluation, failed epochs included.
        monitor: Of the current diagnostics.
    """

    spec: TrialSpec
    config: Any
    reports: list[EpochReport] = field(default_factory=list)
    events: list[RunEvent] = field(default_factory=list)
    recoveries: dict[str, int] = field(default_factory=dict)
    config_changes: list[ConfigChange] = field(default_factory=list)
    best_epoch: int | None = None
    best_member: ModelArtifact | None = None
    best_predictions: NDArray[np.float32] | None = None
    seconds: float = 0.0
    monitor: DiagnosticMonitor = field(init=False)

    def __post_init__(self) -> None:
        self.monitor = DiagnosticMonitor(epochs=self.spec.epochs, latent=hasattr(self.config, "latent"))

    @property
    def best_report(self) -> EpochReport | None:
        """Of the best epoch."""
        return None if self.best_epoch is None else self.reports[self.best_epoch - 1]

    @property
    def finished(self) -> bool:
        """Whether all epochs are trained, or early stopping ends the trial."""
        epochs = len(self.reports)
        if epochs >= self.spec.epochs:
            return True
        since_best = epochs - (self.best_epoch or 0)
        return self.spec.early_stop and epochs > 0 and since_best >= self.config.patience

    def result(self, status: TrialStatus, *, error: str, parameters: int, folder: str) -> TrialResult:
        """The trial's outcome.

        Args:
            status: How it ended.
            error: What went wrong, "" where nothing did.
            parameters: Of the model.
            folder: Of the trial, relative to the run's.

        Returns:
            The outcome, with the metrics of the best epoch.
        """
        best = self.best_report

        def metric(name: str) -> float | None:
            value: float = getattr(best, name, math.nan)
            return None if math.isnan(value) else value  # NaN: no epoch was good, or valid is empty

        return TrialResult(
            spec=self.spec,
            status=status,
            best_epoch=self.best_epoch,
            loss=metric("loss"),
            rmse=metric("rmse"),
            mae=metric("mae"),
            kl=0.0 if best is None else best.kl,
            parameters=parameters,
            seconds=self.seconds,
            folder=folder,
            reports=tuple(self.reports),
            events=tuple(self.events),
            error=error,
            config_changes=tuple(self.config_changes),
        )
