"""What a trial is asked, what each epoch reports, and what a trial leaves: plain values.

They cross processes and end up in results.json, MLflow, notifications and the report alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from recsys.types import JsonObject


@dataclass(frozen=True)
class TrialSpec:
    """One training to run. ``config`` holds the family's fields by name; ``prunable`` is False for
    the trials that ASHA must let finish (the formula, the plan's template).
    ``early_stop`` off trains exactly ``epochs`` (a refit). ``epoch_steps``: an epoch of a model that is
    trained by steps has at most so many, of batches drawn anew; None: all of train. ``origin`` says who
    proposed it: "formula", "template", "baseline", "search", "start-from", "experiment". ``track`` is
    "rating" (judged by rmse) or "lists" (judged by NDCG@10).
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


@dataclass(frozen=True)
class EpochReport:
    """Figures after one epoch, evaluation mode unless said. ``loss`` = MSE + 0.01 KL; ``rmse`` in stars.

    ``train_rmse`` is on a fixed sample of train (the gap's other side); ``kl`` is the mean over latent
    dimensions in nats; ``active_latents`` the share of dimensions with KL > 0.01;
    ``gradient_norm`` the epoch's largest before clipping; ``memory_share`` of the GPU used, 0 on a CPU.
    """

    epoch: int
    seconds: float
    train_loss: float
    train_rmse: float
    loss: float
    rmse: float
    mae: float
    kl: float = 0.0
    active_latents: float = 1.0
    kl_weight: float = 0.0
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    memory_share: float = 0.0
    ratings_per_second: float = 0.0

    @property
    def gap(self) -> float:
        """Overfitting: rmse on valid minus rmse on the sample of train."""
        return self.rmse - self.train_rmse


class EventKind(Enum):
    """Warning signs, contingencies and milestones of a run."""

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


@dataclass(frozen=True)
class RunEvent:
    """Something worth telling. ``at`` is Unix seconds; ``trial`` and ``epoch`` None for the whole run.

    ``action`` is what was done about it, ``outcome`` what came of that; "" where nothing was.
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
    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"  # by a budget or an interrupt: its best epoch is usable


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to. Figures are those of ``best_epoch`` (lowest valid rmse), None if none was.

    ``folder`` (relative to the run) holds ``member/`` (the packed best weights) and
    ``valid.npy`` (its predictions of the valid slice, (n,) float32 stars, in the slice's order).
    A list trial has no such figures and no member: ``list_metrics`` are its lists' on held-out items of train
    and valid (``ndcg_at_10``, ``precision_at_10``, ``milliseconds_a_list``).
    """

    spec: TrialSpec
    status: TrialStatus
    best_epoch: int | None
    loss: float | None
    rmse: float | None
    mae: float | None
    kl: float
    parameters: int
    seconds: float
    folder: str
    reports: tuple[EpochReport, ...] = field(default=())
    events: tuple[RunEvent, ...] = field(default=())
    error: str = ""
    config_changes: tuple[ConfigChange, ...] = field(default=())
    list_metrics: JsonObject = field(default_factory=dict)

    @property
    def trained_config(self) -> JsonObject:
        """What the best epoch was really trained with: ``spec.config`` and every recovery before it."""
        return {
            **self.spec.config,
            **{name: value for change in self.changes_before_best for name, value in change.changes.items()},
        }

    @property
    def changes_before_best(self) -> tuple[ConfigChange, ...]:
        """The changes that the best epoch was trained under, in the order they were made."""
        last = self.reports[-1].epoch if self.best_epoch is None and self.reports else self.best_epoch or 0
        return tuple(change for change in self.config_changes if change.epoch < last)
