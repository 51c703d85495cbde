"""A trial: one model trained epoch by epoch, with diagnostics, recoveries and exact checkpoints.

``step`` is one epoch: train, evaluate, diagnose, recover. The model of the best epoch (lowest valid rmse) is
kept; a checkpoint holds the whole state, so that a resumed trial has exactly the metrics of an uninterrupted
one. Ray, tests and the experiment manager all drive this same object.
"""

from __future__ import annotations

import gc
import math
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from recsys.bounds import DataShape, require_safe
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.base import Trainer
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.optim.device import memory_share, pick_device
from recsys.models.registry import family_named, make_config
from recsys.training.diagnostics import Diagnostic, diagnostic_event, diverged
from recsys.training.epoch_metrics import EpochMetrics, evaluate, train_sample
from recsys.training.recovery import choose_recovery, first_line, is_out_of_memory, recovery_event
from recsys.training.recovery_outcomes import fill_outcomes, mark_repeated
from recsys.training.snapshot import read_snapshot, write_snapshot
from recsys.training.trial_files import write_trial
from recsys.training.trial_progress import TrialProgress
from recsys.training.trial_types import (
    ConfigChange,
    EpochReport,
    EventKind,
    TrialResult,
    TrialSpec,
    TrialStatus,
)
from recsys.types import Arrays, JsonObject


class TrainingFailed(RuntimeError):
    """The trial cannot continue; the result of its best epoch can still be written."""


class Trial(TrialProgress):
    """One model in training: its reports, events and best epoch so far."""

    def __init__(
        self,
        spec: TrialSpec,
        data: TrainingData,
        *,
        folder: Path,
        device: str = "auto",
        small_batch_allowed: bool = False,
    ) -> None:
        """Checks the config against the data and the safe bounds; trains nothing yet.

        Args:
            spec: What to train.
            data: What to train and validate on.
            folder: Where ``finish`` writes member/, valid.npy and result.json.
            device: "auto", "cpu" or "cuda".
            small_batch_allowed: Whether the bounds admit batch 1536, which small GPUs need.

        Raises:
            InputError: The config is wrong or outside the bounds, or a slice is empty.
        """
        super().__init__(spec, make_config(spec.family, spec.config))
        self.data, self.folder = data, folder
        self.family = family_named(spec.family)
        if spec.epochs < 1:
            raise InputError(f"trial {spec.name!r} has {spec.epochs} epochs, expected 1 or more")
        if len(data.train) == 0:
            raise InputError("the training slice is empty; use more data or another split")
        if spec.early_stop and len(data.valid) == 0:
            raise InputError("the valid slice is empty: nothing to stop early on; use another split")
        if isinstance(self.config, HybridVaeConfig):
            shape = DataShape.of(data)
            require_safe(self.config, shape, small_batch_allowed=small_batch_allowed, where=spec.name)
        if self.family.check is not None:
            self.family.check(self.config, data)
        self.device = pick_device(device if self.family.uses_gpu else "cpu")
        self.sample = train_sample(data, spec.seed)
        self.small_batch_allowed = small_batch_allowed

    @cached_property
    def trainer(self) -> Trainer:
        """Built on first use: a resumed trial is built with what its checkpoint already holds."""
        return self.build_trainer()

    @cached_property
    def last_good(self) -> Arrays:
        """The trainer's state after the last epoch without a fault."""
        return self.trainer.state()

    def build_trainer(self, **restorable_inputs: Any) -> Trainer:
        """A trainer before its first epoch; ``restorable_inputs`` are not computed again."""
        spec = self.spec
        trainer = self.family.build(
            self.config,
            self.data,
            epochs=spec.epochs,
            seed=spec.seed,
            device=self.device,
            **restorable_inputs,
        )
        if hasattr(trainer, "epoch_steps"):
            trainer.epoch_steps = spec.epoch_steps
        return trainer

    @property
    def parameters(self) -> int:
        """Trainable parameters of the model."""
        return self.trainer.parameters

    def step(self) -> EpochReport:
        """Trains and evaluates one more epoch, repeated after a recovery where it fails.

        Raises:
            TrainingFailed: No recovery is available, or the trial has finished.
        """
        if self.finished:
            raise TrainingFailed(f"trial {self.spec.name!r} has finished its {len(self.reports)} epochs")
        assert self.last_good  # computed before training: a failed epoch is rewound to it
        while True:
            started = time.perf_counter()
            try:
                report, metrics = self._epoch(started)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # The traceback holds the failed step's tensors: free them before anything is allocated.
                reason = first_line(error)
                del error
            else:
                self.seconds += time.perf_counter() - started
                diagnostic = diverged(report, self.reports, has_valid=len(self.data.valid) > 0)
                if diagnostic is None or self._is_tolerated(diagnostic):
                    self._record_epoch(report, metrics)
                    return report
                self._handle_failure(diagnostic)
                continue
            self.seconds += time.perf_counter() - started
            self._handle_failure(Diagnostic(EventKind.OUT_OF_MEMORY, memory_share(self.device), 1.0, reason))

    def _is_tolerated(self, diagnostic: Diagnostic) -> bool:
        """Whether a reference trial continues in spite of ``diagnostic``, which its events then list once."""
        if not self.spec.is_reference or not math.isfinite(diagnostic.threshold or math.inf):
            return False
        if all(event.kind is not diagnostic.kind for event in self.events):
            self._log(diagnostic, len(self.reports) + 1)
        return True

    def _epoch(self, started: float) -> tuple[EpochReport, EpochMetrics]:
        trained = self.trainer.train_epoch()
        training_seconds = time.perf_counter() - started
        metrics = evaluate(self.trainer, self.data.valid, self.sample)
        report = EpochReport(
            epoch=len(self.reports) + 1,
            seconds=time.perf_counter() - started,
            train_loss=trained["train_loss"],
            **metrics.figures,
            kl_weight=trained.get("kl_weight", 0.0),
            learning_rate=trained.get("learning_rate", 0.0),
            gradient_norm=trained.get("gradient_norm", 0.0),
            memory_share=memory_share(self.device),
            ratings_per_second=len(self.data.train) / max(training_seconds, 1e-9),
        )
        return report, metrics

    def _record_epoch(self, report: EpochReport, metrics: EpochMetrics) -> None:
        self.reports.append(report)
        best = self.best_report
        if not self.spec.early_stop or best is None or report.rmse < best.rmse:
            self.best_epoch = report.epoch
            self.best_member = self.trainer.export()
            self.best_predictions = metrics.predictions
        if math.isfinite(report.loss):  # not where valid is empty: a refit
            self.trainer.on_validation(report.loss)
        self.last_good = self.trainer.state()
        fill_outcomes(self.events, self.reports)
        for diagnostic in self.monitor.update(self.reports):
            self._log(diagnostic, report.epoch)
            if not self.finished and not self.spec.is_reference:
                self._recover(diagnostic)

    def _log(self, diagnostic: Diagnostic, epoch: int) -> None:
        self.events.append(diagnostic_event(diagnostic, trial=self.spec.number, epoch=epoch))

    def _handle_failure(self, diagnostic: Diagnostic) -> None:
        """Recovers from a failure of the epoch after the last report, or raises TrainingFailed."""
        epoch = len(self.reports)
        mark_repeated(self.events, diagnostic.kind, epoch)
        self._log(diagnostic, epoch + 1)
        as_configured = self.spec.is_reference and diagnostic.kind is EventKind.DIVERGED
        if as_configured or not self._recover(diagnostic):
            raise TrainingFailed(f"{diagnostic.kind.value} in epoch {epoch + 1} ({diagnostic.message})")

    def _recover(self, diagnostic: Diagnostic) -> bool:
        """Changes the config and, after a failure, rewinds. False where no recovery is available."""
        kind, epoch, so_far = diagnostic.kind, len(self.reports), self.recoveries
        action = choose_recovery(kind, self.config, epoch=epoch, epochs=self.spec.epochs, so_far=so_far)
        if action is None:
            return False
        self.recoveries[kind.value] = self.recoveries.get(kind.value, 0) + 1
        self.change_config(action.changes)
        self.events.append(recovery_event(diagnostic, action, trial=self.spec.number, epoch=epoch))
        if action.rewind:
            self._rewind()
        return True

    def _rewind(self) -> None:
        """Back to the last good epoch. Raises TrainingFailed where memory does not suffice even for that."""
        # Free what the failed step still holds first.
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            self.trainer.load_state(self.last_good)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            epoch = len(self.reports)
            message = f"in epoch {epoch + 1} (no room to go back to epoch {epoch})"
            raise TrainingFailed(f"{EventKind.OUT_OF_MEMORY.value} {message}") from None

    def change_config(self, changes: JsonObject) -> None:
        """Continues training with a changed config, as a recovery decides and a refit repeats.

        Args:
            changes: New values by field.
        """
        self.config = replace(self.config, **changes)
        self.trainer.config = self.config
        self.config_changes.append(ConfigChange(len(self.reports), changes))

    def save(self, folder: Path) -> None:
        """Writes an exact checkpoint, atomically.

        Args:
            folder: Of the checkpoint.

        Raises:
            OSError: A full disk; the previous checkpoint stays.
        """
        write_snapshot(folder, self, self.last_good)

    def load(self, folder: Path) -> None:
        """Resumes from a checkpoint of ``save``.

        Args:
            folder: Of the checkpoint.

        Raises:
            InputError: It is damaged, or of another trial.
        """
        progress, state = read_snapshot(
            folder,
            self.spec,
            self.config,
            shape=DataShape.of(self.data),
            small_batch_allowed=self.small_batch_allowed,
        )
        inputs = self.family.restorable_inputs
        self.trainer = self.build_trainer(**({} if inputs is None else inputs(state)))
        self.last_good = state
        vars(self).update(vars(progress))
        self.trainer.config = self.config
        self.trainer.load_state(state)

    def finish(self, status: TrialStatus, error: str = "") -> TrialResult:
        """Ends the trial and writes its files.

        Args:
            status: How it ended.
            error: What went wrong, in one line; "" where nothing did.

        Returns:
            The outcome, as ``result.json`` holds it.

        Raises:
            OSError: The files cannot be written.
        """
        fill_outcomes(self.events, self.reports, ended="the trial ended before it could show")
        result = self.result(
            status, error=error, parameters=self.parameters, folder="/".join(self.folder.parts[-2:])
        )
        write_trial(self.folder, result, member=self.best_member, predictions=self.best_predictions)
        return result
