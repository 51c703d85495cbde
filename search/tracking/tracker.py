"""A run's MLflow tracking: called by the search, never raises, never waits for a network.

Each call is one line in the run's journal. A trial becomes a run nested in the search's: parameters,
figures by epoch, warning signs as tags. The default address is an SQLite file beside the runs, shared by
them, so that releases of several runs meet in one registry.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from clusters.cluster_info import read_cluster_info
from recsys.training.trial_types import EpochReport, RunEvent, TrialResult, TrialSpec, TrialStatus
from recsys.types import JsonObject
from search.results.metrics import metrics_on
from search.results.schema import Results
from search.tracking.mlflow_writer import PARENT
from search.tracking.model_registry import GATE_FILE, model_name
from search.tracking.outbox import FOLDER, Outbox
from search.tracking.promotion import GateAnswers
from search.tracking.sender import NullSender, Sender, runs_beside

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
EXPERIMENTS = "experiments"
CLOSE_S, REGISTER_S = 20.0, 60.0
STATUS = {
    TrialStatus.FINISHED: "FINISHED",
    TrialStatus.PRUNED: "KILLED",
    TrialStatus.STOPPED: "KILLED",
    TrialStatus.FAILED: "FAILED",
}
SHOWN = (
    "loss",
    "rmse",
    "mae",
    "kl",
    "train_loss",
    "train_rmse",
    "kl_weight",
    "learning_rate",
    "gradient_norm",
)


def default_uri(folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """MLFLOW_TRACKING_URI, or the SQLite file beside the runs (experiments share it)."""
    return environment.get(URI_VARIABLE, "").strip() or f"sqlite:///{runs_home(folder) / DATABASE}"


def runs_home(folder: Path) -> Path:
    """The folder that holds the runs; experiments lie one level deeper in it."""
    parent = folder.resolve().parent
    return parent.parent if parent.name == EXPERIMENTS else parent


class Tracker:
    """A run's line to MLflow. ``open`` starts it, ``close`` ends it; both are safe without a network."""

    def __init__(self, journal: Outbox, sender: Sender | NullSender, token: str) -> None:
        self._journal, self._sender, self._token = journal, sender, token
        self._best = math.inf
        self._done = 0

    @classmethod
    def open(
        cls, folder: Path, *, name: str, params: JsonObject, resume: bool = False, uri: str | None = None
    ) -> Tracker:
        """Begin to track the run in ``folder``; with ``resume`` go on with the journal that is there.

        A rented machine that was given no address keeps the journal only: it is sent from where it was
        rented (``search.tracking.forwarding``), to the MLflow that outlives it.
        """
        journal = Outbox(folder)
        token = _first_token(journal) if resume else None
        address = uri or default_uri(folder)
        rented = uri is None and not os.environ.get(URI_VARIABLE) and read_cluster_info() is not None
        sender = (
            NullSender()
            if rented
            else Sender(
                journal,
                address,
                artifacts=runs_home(folder) / ARTIFACTS,
                beside=lambda: runs_beside(folder),
            )
        )
        tracker = cls(journal, sender, token or uuid.uuid4().hex)
        if token is not None:
            tracker._remember()
        else:
            tracker._record(PARENT, name=name, params=_flat(params), tags={"kind": "search"})
        return tracker

    def _remember(self) -> None:
        """Continue the counts of an earlier process."""
        for entry, _ in self._journal.read(0):
            for name, value, _step, _at in entry.get("metrics", ()) if entry["key"] == PARENT else ():
                if name == "trials_done":
                    self._done = int(value)
                elif name == "best_so_far_rmse":
                    self._best = value

    def trial_started(self, spec: TrialSpec) -> None:
        """A nested run begins."""
        config = {**_flat(spec.config), "epochs": spec.epochs, "seed": spec.seed, "family": spec.family}
        self._record(
            str(spec.number),
            name=spec.name,
            params=config,
            tags={"origin": spec.origin, "trial": spec.number, "track": spec.track},
        )

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        """Metrics after an epoch; an epoch recorded twice counts once."""
        self._record(str(spec.number), name=spec.name, metrics=_epoch_metrics(report, time.time()))

    def event(self, event: RunEvent) -> None:
        """A warning sign, contingency or milestone: a tag of its trial, or of the run."""
        key = PARENT if event.trial is None else str(event.trial)
        epoch = "" if event.epoch is None else f"epoch {event.epoch}: "
        value = "" if event.value is None else f"{event.value:.4g} "
        text = f"{epoch}{value}{event.message} {event.action} {event.outcome}".strip()
        self._record(key, tags={f"event.{event.kind.value}.{event.epoch or 0}": text or event.kind.value})

    def trial_finished(self, result: TrialResult) -> None:
        """A nested run ends: its curve (the part that ``epoch`` did not record), best figures and state."""
        spec, now = result.spec, time.time()
        start = now - result.seconds
        metrics = []
        for report in result.reports:
            metrics += _epoch_metrics(report, start + report.epoch * report.seconds)
        best = {
            "best_loss": result.loss,
            "best_rmse": result.rmse,
            "best_mae": result.mae,
            **result.list_metrics,
        }
        metrics += [[name, value, 0, now] for name, value in best.items() if _finite(value)]
        metrics += [["parameters", result.parameters, 0, now], ["seconds", result.seconds, 0, now]]
        tags = {"status": result.status.value, "best_epoch": result.best_epoch, "error": result.error[:500]}
        self.trial_started(spec)
        self._record(
            str(spec.number),
            metrics=metrics,
            tags={name: value for name, value in tags.items() if value not in (None, "")},
            status=STATUS[result.status],
        )
        self._done += 1
        self._progress(result, now)
        self._sender.wake()

    def _progress(self, result: TrialResult, now: float) -> None:
        metrics: list[list[object]] = [["trials_done", self._done, self._done, now]]
        if result.rmse is not None and result.loss is not None and result.rmse < self._best:
            self._best = result.rmse
            metrics += [
                ["best_so_far_rmse", result.rmse, self._done, now],
                ["best_so_far_loss", result.loss, self._done, now],
            ]
        self._record(PARENT, metrics=metrics)

    def promote(
        self,
        results: Results,
        release: Path,
        *,
        gate: GateAnswers | None,
        release_id: str | None = None,
        deadline_s: float = REGISTER_S,
    ) -> JsonObject | None:
        """Register the release and judge it against the champion on gate; ``gate`` holds its answers there.

        Gives the verdict with the model's name and version; ``{"promoted": None, "reason": ...}`` when
        MLflow did not answer in time: then it is judged when the journal is sent.
        """
        try:
            release_id = release_id or release_id_of(release)
            path = self._journal.folder / GATE_FILE
            if gate is not None:
                gate.save(path)
            test = metrics_on(results.ensemble, "test")
            figures = {"loss": test.loss, "rmse": test.rmse}
            tags = {f"test.{name}": f"{value:.6f}" for name, value in figures.items() if value is not None}
            request = {
                "model": model_name(results.dataset.name, results.dataset.sha256),
                "release_id": release_id,
                "release": os.path.relpath(release, self._journal.run_folder),
                "gate": os.path.relpath(path, self._journal.run_folder),
                "tags": {**tags, "run": results.name, "dataset.sha256": results.dataset.sha256},
            }
        except (OSError, ValueError) as error:
            return {"promoted": None, "reason": f"the release could not be offered ({type(error).__name__})"}
        self._record(PARENT, register=request)
        answer = self._sender.answer(release_id, deadline_s)
        return answer or {
            "promoted": None,
            "reason": f"{self._sender.silence}; the release is judged when the journal is sent",
        }

    def finish(self, results: Results) -> None:
        """The run's figures and its files: results.json, report.html, trials.json."""
        now = time.time()
        models = {
            "formula": results.formula,
            "best": results.best,
            "ensemble": results.ensemble,
            "recommender": results.recommender,
        }
        metrics: list[list[object]] = [
            [f"{name}.{part}.{figure}", value, 0, now]
            for name, model in models.items()
            if model is not None
            for part, figures in (("valid", model.valid), ("test", model.test))
            if figures is not None
            for figure, value in figures.model_dump(exclude_none=True).items()
        ]
        metrics += [["usd", results.budget.usd, 0, now], ["hours", results.budget.hours, 0, now]]
        self._record(
            PARENT,
            metrics=metrics,
            tags={"dataset": results.dataset.name, "split": results.split.protocol, "status": results.status},
            artifacts=["results.json", "report.html", "trials.json"],
            status="FINISHED" if results.status != "interrupted" else "KILLED",
        )

    def close(self, deadline_s: float = CLOSE_S) -> str:
        """Send the rest for at most ``deadline_s``. Returns a line to print, "" when all was sent."""
        unsent = self._sender.close(deadline_s)
        if unsent <= 0 and not self._journal.lost:
            return ""
        return (
            f"MLflow has not taken everything ({self._sender.problem or 'still sending'}): the rest is kept "
            f"in {self._journal.folder}. Send it with: python -m search.tracking {self._journal.run_folder}"
        )

    def _record(self, key: str, **entry: object) -> None:
        self._journal.append({"key": key, "journal": self._token, "at": time.time(), **entry})


def _epoch_metrics(report: EpochReport, at: float) -> list[list[object]]:
    figures = {**asdict(report), "gap": report.gap}
    return [[name, figures[name], report.epoch, at] for name in (*SHOWN, "gap") if _finite(figures[name])]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _flat(settings: JsonObject, prefix: str = "") -> JsonObject:
    """Nested settings with dotted names."""
    flat: JsonObject = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _first_token(journal: Outbox) -> str | None:
    return next((str(entry["journal"]) for entry, _ in journal.read(0)), None)


def release_id_of(release: Path) -> str:
    """From the release's manifest."""
    from recsys.release.load import read_manifest

    return read_manifest(release).release_id


__all__ = ["FOLDER", "Tracker", "default_uri", "runs_home"]
