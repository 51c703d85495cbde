"""A trial: one model trained epoch by epoch, watched, helped in trouble, and left on disk.

``step`` is one epoch: train, evaluate, look for warning signs, act on them. The best epoch (lowest valid
rmse) is kept packed; a checkpoint holds everything, so that a trial continued from it gives exactly the
figures of one never interrupted. Ray, tests and the experiment manager all drive this same object.
"""

from __future__ import annotations

import gc
import io
import json
import math
import time
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.bounds import DataShape, require_safe
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.io import write_atomic
from recsys.models.artifact import save_artifact
from recsys.models.base import ModelArtifact, Trainer
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.optim.device import memory_share, pick_device
from recsys.models.registry import family_named, make_config
from recsys.training.diagnostics import Diagnostic, DiagnosticMonitor, diagnostic_event, diverged
from recsys.training.epoch_metrics import EpochMetrics, evaluate, train_sample
from recsys.training.recovery import RecoveryAction, choose_recovery, is_out_of_memory
from recsys.training.recovery_outcomes import fill_outcomes, mark_repeated
from recsys.training.serialization import trial_to_json
from recsys.training.snapshot import TrialSnapshot, read_snapshot, write_snapshot
from recsys.training.trial_types import (
    ConfigChange,
    EpochReport,
    EventKind,
    RunEvent,
    TrialResult,
    TrialSpec,
    TrialStatus,
)
from recsys.types import Arrays, JsonObject

# Trained as written, whatever the diagnostics say: a reference that was helped measures nothing. Only running
# out of memory is answered; figures that are not finite end the trial.
REFERENCE_ORIGINS = frozenset({"formula", "template", "reference", "refit"})


class TrainingFailed(RuntimeError):
    """The trial cannot go on; what its best epoch reached can still be finished."""


class Trial:
    def __init__(
        self,
        spec: TrialSpec,
        data: TrainingData,
        *,
        folder: Path,
        device: str = "auto",
        small_batch_allowed: bool = False,
    ) -> None:
        """``folder`` receives member/, valid.npy and result.json. ``small_batch_allowed``: the GPU's own
        row asks for batch 1536. Raises InputError for a config that is wrong or outside the bounds."""
        self.spec, self.data, self.folder = spec, data, folder
        self.family = family_named(spec.family)
        self.config = make_config(spec.family, spec.config)
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
        self.reports: list[EpochReport] = []
        self.events: list[RunEvent] = []
        self.recoveries: dict[str, int] = {}
        self.config_changes: list[ConfigChange] = []
        self.small_batch_allowed = small_batch_allowed
        self.monitor = DiagnosticMonitor(epochs=spec.epochs, latent=hasattr(self.config, "latent"))
        self.best_epoch: int | None = None
        self.best_member: ModelArtifact | None = None
        self.best_predictions: NDArray[np.float32] | None = None
        self.seconds = 0.0

    @cached_property
    def trainer(self) -> Trainer:
        """Built when it is first needed: a checkpoint spares it what only a start has to find."""
        return self.build_trainer()

    @cached_property
    def last_good(self) -> Arrays:
        """The trainer's state after the last epoch that was good."""
        return self.trainer.state()

    def build_trainer(self, **restorable_inputs: Any) -> Trainer:
        """A trainer at its start; ``known`` is what need not be found again."""
        build, spec = self.family.build, self.spec
        trainer = build(
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
        return self.trainer.parameters

    @property
    def finished(self) -> bool:
        done = len(self.reports)
        if done >= self.spec.epochs:
            return True
        stale = done - (self.best_epoch or 0)
        return self.spec.early_stop and done > 0 and stale >= self.config.patience

    def step(self) -> EpochReport:
        """One epoch more, and its figures. Raises TrainingFailed when no contingency is left."""
        if self.finished:
            raise TrainingFailed(f"trial {self.spec.name!r} has finished its {len(self.reports)} epochs")
        assert self.last_good  # from here on a fault has something to go back to
        while True:
            started = time.perf_counter()
            try:
                report, figures = self._epoch(started)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # The traceback holds the failed step's tensors: let it go before anything is allocated.
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                del error
            else:
                self.seconds += time.perf_counter() - started
                diagnostic = diverged(report, self.reports, has_valid=len(self.data.valid) > 0)
                if diagnostic is None or self._is_tolerated(diagnostic):
                    self._record_epoch(report, figures)
                    return report
                self._handle_failure(diagnostic)
                continue
            self.seconds += time.perf_counter() - started
            self._handle_failure(Diagnostic(EventKind.OUT_OF_MEMORY, memory_share(self.device), 1.0, reason))

    def _is_tolerated(self, diagnostic: Diagnostic) -> bool:
        """Whether a reference trains on in spite of ``diagnostic``, which its events then show once."""
        if self.spec.origin not in REFERENCE_ORIGINS or not math.isfinite(diagnostic.threshold or math.inf):
            return False
        if all(event.kind is not diagnostic.kind for event in self.events):
            epoch = len(self.reports) + 1
            self.events.append(diagnostic_event(diagnostic, trial=self.spec.number, epoch=epoch))
        return True

    def _epoch(self, started: float) -> tuple[EpochReport, EpochMetrics]:
        trained = self.trainer.train_epoch()
        took = time.perf_counter() - started
        figures = evaluate(self.trainer, self.data.valid, self.sample)
        report = EpochReport(
            epoch=len(self.reports) + 1,
            seconds=time.perf_counter() - started,
            train_loss=trained["train_loss"],
            train_rmse=figures.train_rmse,
            loss=figures.loss,
            rmse=figures.rmse,
            mae=figures.mae,
            kl=figures.kl,
            active_latents=figures.active_latents,
            kl_weight=trained.get("kl_weight", 0.0),
            learning_rate=trained.get("learning_rate", 0.0),
            gradient_norm=trained.get("gradient_norm", 0.0),
            memory_share=memory_share(self.device),
            ratings_per_second=len(self.data.train) / max(took, 1e-9),
        )
        return report, figures

    def _record_epoch(self, report: EpochReport, figures: EpochMetrics) -> None:
        self.reports.append(report)
        best = math.inf if self.best_epoch is None else self.reports[self.best_epoch - 1].rmse
        if not self.spec.early_stop or report.rmse < best:
            self.best_epoch = report.epoch
            self.best_member = self.trainer.export()
            self.best_predictions = figures.predictions
        if math.isfinite(report.loss):  # not where valid is empty: a refit
            self.trainer.on_validation(report.loss)
        self.last_good = self.trainer.state()
        fill_outcomes(self.events, self.reports)
        for diagnostic in self.monitor.update(self.reports):
            event = diagnostic_event(diagnostic, trial=self.spec.number, epoch=report.epoch)
            action = None
            if not self.finished and self.spec.origin not in REFERENCE_ORIGINS:
                action = self._recovery_for(diagnostic.kind, report.epoch)
            self.events.append(event)
            if action is not None:
                self._apply(diagnostic, action)

    def _recovery_for(self, kind: EventKind, epoch: int) -> RecoveryAction | None:
        return choose_recovery(
            kind, self.config, epoch=epoch, epochs=self.spec.epochs, so_far=self.recoveries
        )

    def _handle_failure(self, diagnostic: Diagnostic) -> None:
        """Answers a fault of the epoch after the last report, or raises TrainingFailed."""
        epoch = len(self.reports)
        mark_repeated(self.events, diagnostic.kind, epoch)
        self.events.append(diagnostic_event(diagnostic, trial=self.spec.number, epoch=epoch + 1))
        untouched = self.spec.origin in REFERENCE_ORIGINS and diagnostic.kind is EventKind.DIVERGED
        action = None if untouched else self._recovery_for(diagnostic.kind, epoch)
        if action is None:
            raise TrainingFailed(f"{diagnostic.kind.value} in epoch {epoch + 1} ({diagnostic.message})")
        self._apply(diagnostic, action)

    def _apply(self, diagnostic: Diagnostic, action: RecoveryAction) -> None:
        """Changes the config, and goes back to the last good epoch where the response says so."""
        kind = diagnostic.kind.value
        self.recoveries[kind] = self.recoveries.get(kind, 0) + 1
        self.change_config(action.changes)
        self.events.append(
            RunEvent(
                kind=EventKind.CONTINGENCY,
                at=time.time(),
                trial=self.spec.number,
                epoch=len(self.reports),
                value=diagnostic.value,
                threshold=diagnostic.threshold,
                message=f"{kind}: {diagnostic.message}",
                action=action.action,
            )
        )
        if action.rewind:
            self._rewind()

    def _rewind(self) -> None:
        """Back to the last good epoch. Raises TrainingFailed where there is no room even for that."""
        # What the failed step still holds goes first: there may be no room for more.
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            self.trainer.load_state(self.last_good)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            epoch = len(self.reports) + 1
            raise TrainingFailed(
                f"{EventKind.OUT_OF_MEMORY.value} in epoch {epoch} (no room to go back to epoch {epoch - 1})"
            ) from None

    def change_config(self, changes: JsonObject) -> None:
        """Train on with ``changes`` to the config: what a recovery decides, and what a refit repeats."""
        self.config = replace(self.config, **changes)
        self.trainer.config = self.config
        self.config_changes.append(ConfigChange(len(self.reports), changes))

    def save(self, folder: Path) -> None:
        """An exact checkpoint, atomically. Raises OSError (a full disk) and leaves the one before."""
        write_snapshot(
            TrialSnapshot(
                spec=self.spec,
                config=self.config,
                state=self.last_good,
                reports=self.reports,
                events=self.events,
                recoveries=self.recoveries,
                config_changes=self.config_changes,
                ongoing=self.monitor.ongoing,
                best_epoch=self.best_epoch,
                best_member=self.best_member,
                best_predictions=self.best_predictions,
                seconds=self.seconds,
            ),
            folder,
        )

    def load(self, folder: Path) -> None:
        """Goes on from ``save``. Raises InputError where the checkpoint is of another trial or damaged."""
        saved = read_snapshot(
            folder,
            self.spec,
            self.config,
            shape=DataShape.of(self.data),
            small_batch_allowed=self.small_batch_allowed,
        )
        inputs = self.family.restorable_inputs
        self.trainer = self.build_trainer(**({} if inputs is None else inputs(saved.state)))
        self.last_good = saved.state
        self.config, self.config_changes = saved.config, saved.config_changes
        self.reports, self.events, self.recoveries = saved.reports, saved.events, saved.recoveries
        self.monitor.ongoing = saved.ongoing
        self.best_epoch, self.seconds = saved.best_epoch, saved.seconds
        if saved.best_member is not None:
            self.best_member, self.best_predictions = saved.best_member, saved.best_predictions
        self.trainer.config = self.config
        self.trainer.load_state(saved.state)

    def finish(self, status: TrialStatus, error: str = "") -> TrialResult:
        """Leaves member/, valid.npy (where an epoch was good) and result.json, and returns the result."""
        fill_outcomes(self.events, self.reports, ended="the trial ended before it could show")
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.best_member is not None and self.best_predictions is not None:
            save_artifact(self.folder / "member", self.best_member)
            buffer = io.BytesIO()
            np.save(buffer, self.best_predictions, allow_pickle=False)
            write_atomic(self.folder / "valid.npy", buffer.getbuffer())
        result = self._result(status, error)
        text = json.dumps(trial_to_json(result), indent=1)
        write_atomic(self.folder / "result.json", text.encode())
        return result

    def _result(self, status: TrialStatus, error: str) -> TrialResult:
        best = None if self.best_epoch is None else self.reports[self.best_epoch - 1]
        figures = {} if best is None else asdict(best)
        # NaN (an empty valid slice) is "no figure".
        shown = {
            name: None if math.isnan(figures.get(name, math.nan)) else figures[name]
            for name in REPORTED_METRICS
        }
        return TrialResult(
            spec=self.spec,
            status=status,
            best_epoch=self.best_epoch,
            loss=shown["loss"],
            rmse=shown["rmse"],
            mae=shown["mae"],
            kl=0.0 if best is None else best.kl,
            parameters=self.parameters,
            seconds=self.seconds,
            folder="/".join(self.folder.parts[-2:]),
            reports=tuple(self.reports),
            events=tuple(self.events),
            error=error,
            config_changes=tuple(self.config_changes),
        )


REPORTED_METRICS = ("loss", "rmse", "mae")
