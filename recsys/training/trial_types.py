"""Specification, epoch reports, events and result of a trial, as plain values.

They cross processes, and results.json, MLflow, notifications and the report read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from pydantic import BeforeValidator

from recsys.types import JsonObject

# In JSON a figure that is not finite is null.
Figure = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]

# Trained exactly as configured, whatever the diagnostics say, so that they stay comparable. Only running out
# of memory is recovered from; metrics that are not finite end the trial.
REFERENCE_ORIGINS = frozenset({"formula", "template", "reference", "refit"})


@dataclass(frozen=True)
class TrialSpec:
    """One model to train.

    Attributes:
        number: Of the trial in its search.
        name: For people.
        family: Of the model.
        config: The family's fields by name.
        epochs: At most.
        seed: Of everything random in it.
        prunable: False for trials that ASHA must let finish (the formula, the plan's template).
        early_stop: False trains exactly ``epochs`` (a refit).
        origin: What proposed it: "formula", "template", "baseline", "search", "start-from", "experiment".
        track: "rating" (ranked by rmse) or "lists" (ranked by NDCG@10).
        epoch_steps: At most so many batches an epoch, of models that train by batches; None: all of train.
    """

    number: int
    name: str
    family: str
    config: JsonObject
    epochs: int
    seed: int
    prunable: bool = True
    early_stop: bool = True
    origin: str = "search"
    track: str = "rating"
    epoch_steps: int | None = None

    @property
    def is_reference(self) -> bool:
        """Whether recoveries leave its config alone."""
        return self.origin in REFERENCE_ORIGINS


@dataclass(frozen=True)
class EpochReport:
    """Metrics after one epoch; ``loss``, ``rmse`` and ``mae`` on valid, in evaluation mode.

    Attributes:
        epoch: From 1.
        seconds: Of training and evaluation.
        train_loss: Mean training loss, in training mode.
        train_rmse: Stars, on a fixed sample of train.
        loss: MSE + 0.01 KL.
        rmse: Stars.
        mae: Stars.
        kl: Nats, mean over latent dimensions.
        active_latents: Share of latent dimensions with KL above 0.01.
        kl_weight: That the epoch was trained with.
        learning_rate: At its end.
        gradient_norm: The largest before clipping.
        memory_share: Of the GPU in use; 0 on a CPU.
        ratings_per_second: Trained.
    """

    epoch: int
    seconds: Figure
    train_loss: Figure
    train_rmse: Figure
    loss: Figure
    rmse: Figure
    mae: Figure
    kl: Figure = 0.0
    active_latents: Figure = 1.0
    kl_weight: Figure = 0.0
    learning_rate: Figure = 0.0
    gradient_norm: Figure = 0.0
    memory_share: Figure = 0.0
    ratings_per_second: Figure = 0.0

    @property
    def gap(self) -> float:
        """Overfitting: rmse on valid minus rmse on the sample of train."""
        return self.rmse - self.train_rmse


class EventKind(Enum):
    """Diagnostics, recoveries and milestones of a run."""

    PLATEAU = "plateau"
    COLLAPSE = "posterior_collapse"
    GAP = "train_valid_gap"
    GPU_MEMORY = "gpu_memory"
    GRADIENT = "gradient_norm"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    UNRESPONSIVE = "unresponsive"
    CONTINGENCY = "contingency"
    STARTED = "started"
    NEW_BEST = "new_best"
    BUDGET = "budget"
    TRIAL_FAILED = "trial_failed"
    FINISHED = "finished"


# Progress of a run; every other kind is a sign of trouble or a reaction to one.
MILESTONES = frozenset({EventKind.STARTED, EventKind.NEW_BEST, EventKind.BUDGET, EventKind.FINISHED})


@dataclass(frozen=True)
class RunEvent:
    """An event of a run, for its log, report and notifications.

    Attributes:
        kind: Of the event.
        at: Unix seconds.
        trial: Its number; None for an event of the run.
        epoch: The last epoch before it; None for an event of the run.
        value: The metric that caused it.
        threshold: That ``value`` crossed.
        message: For people.
        action: The recovery, "" where there was none.
        outcome: Of the recovery, "" until it is known.
    """

    kind: EventKind
    at: float
    trial: int | None = None
    epoch: int | None = None
    value: float | None = None
    threshold: float | None = None
    message: str = ""
    action: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class ConfigChange:
    """A recovery's change of the config: ``changes`` hold from the epoch after ``epoch`` on."""

    epoch: int
    changes: JsonObject


class TrialStatus(Enum):
    """How a trial ended."""

    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"  # by a budget or an interrupt: its best epoch is usable


@dataclass(frozen=True)
class TrialResult:
    """The outcome of a trial; ``loss``, ``rmse``, ``mae`` and ``kl`` are of ``best_epoch``.

    Attributes:
        spec: What was trained.
        status: How it ended.
        best_epoch: Lowest valid rmse; None where no epoch was good.
        loss: MSE + 0.01 KL; None where no epoch was good, or valid is empty.
        rmse: Stars, None as ``loss``.
        mae: Stars, None as ``loss``.
        kl: Nats, mean over latent dimensions.
        parameters: Of the model.
        seconds: Of training and evaluation.
        folder: Relative to the run's; holds ``member/`` (the model of the best epoch) and ``valid.npy`` (its
            predictions of the valid slice, (n,) float32 stars).
        reports: One per epoch.
        events: Diagnostics and recoveries.
        error: What went wrong, "" where nothing did.
        config_changes: Made by recoveries.
        list_metrics: Of a list trial, which has no member: ``ndcg_at_10``, ``precision_at_10`` and
            ``milliseconds_a_list`` on held-out items of train and valid.
    """

    spec: TrialSpec
    status: TrialStatus
    best_epoch: int | None
    loss: float | None
    rmse: float | None
    mae: float | None
    kl: Figure
    parameters: int
    seconds: Figure
    folder: str
    reports: tuple[EpochReport, ...] = field(default=())
    events: tuple[RunEvent, ...] = field(default=())
    error: str = ""
    config_changes: tuple[ConfigChange, ...] = field(default=())
    list_metrics: JsonObject = field(default_factory=dict)

    @property
    def gap(self) -> float:
        """Overfitting at the best epoch; NaN without one."""
        return next((report.gap for report in self.reports if report.epoch == self.best_epoch), math.nan)

    @property
    def trained_config(self) -> JsonObject:
        """``spec.config`` with the changes of every recovery before the best epoch."""
        return {
            **self.spec.config,
            **{name: value for change in self.changes_before_best for name, value in change.changes.items()},
        }

    @property
    def changes_before_best(self) -> tuple[ConfigChange, ...]:
        """The changes that the best epoch was trained under, in the order they were made."""
        last = self.reports[-1].epoch if self.best_epoch is None and self.reports else self.best_epoch or 0
        return tuple(change for change in self.config_changes if change.epoch < last)
