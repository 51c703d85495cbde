"""A journal's entries as MLflow has them: a parent run, a nested run for each trial, a few calls each.

Whatever is made is tagged with its key first, and looked for by it when an earlier try may have made it
without us hearing so: an entry can be applied twice and counts once. Metrics go in one batch a trial, or
a few for a long one.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from recsys.types import JsonObject
from search.tracking.model_registry import Registry
from search.tracking.outbox import SendPosition

# Set before MLflow is imported: short timeouts, no output, no telemetry.
QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
EXPERIMENT = "movielens-breakthrough"
KEY = "journal.key"
PARENT = "run"
BATCH = 1000  # MLflow's limit of metrics a call
PARAMETERS = 100  # and of parameters


class MlflowWriter:
    """One MLflow address. Every method raises whatever MLflow raises; the sender tries again."""

    def __init__(self, uri: str, *, artifacts: Path) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # 1 s of import: only where there is something to send

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._local = not uri.startswith(("http://", "https://", "databricks"))
        self._experiment = self._find_experiment(artifacts)

    def _find_experiment(self, artifacts: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        location = artifacts.resolve().as_uri() if self._local else None
        try:
            return str(self._client.create_experiment(name, artifact_location=location))
        except Exception:  # another run made it between the two calls
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def apply(
        self, entries: list[JsonObject], cursor: SendPosition, *, run_folder: Path, unsure: bool
    ) -> None:
        """Write the entries of one ``key`` (a trial's number, or the parent's) to MLflow, in order."""
        key = entries[0]["key"]
        run = self._run(entries, key, cursor, unsure=unsure)
        latest: dict[tuple[str, int], list[Any]] = {}
        for metric in (metric for entry in entries for metric in entry.get("metrics", ())):
            latest.setdefault((metric[0], metric[2]), metric)  # the last value of an epoch counts
        new = [row for (name, step), row in latest.items() if step > cursor.steps.get(f"{key}/{name}", -1)]
        tags = {name: value for entry in entries for name, value in entry.get("tags", {}).items()}
        parameters = {}
        if f"{key}/params" not in cursor.steps:  # MLflow refuses a second value for a parameter
            parameters = {name: value for entry in entries for name, value in entry.get("params", {}).items()}
        self._log(run, new, parameters, tags)
        for name, _, step, _ in new:
            cursor.steps[f"{key}/{name}"] = max(step, cursor.steps.get(f"{key}/{name}", -1))
        if parameters:
            cursor.steps[f"{key}/params"] = 1
        for entry in entries:
            for path in entry.get("artifacts", ()):
                if (run_folder / path).is_file():
                    self._client.log_artifact(run, str(run_folder / path))
            if "register" in entry:
                registry = Registry(self._client, local=self._local)
                answer = registry.register(entry["register"], run_id=run, run_folder=run_folder)
                cursor.answers[entry["register"]["release_id"]] = answer
            if "status" in entry:
                self._client.set_terminated(run, status=entry["status"], end_time=_milliseconds(entry["at"]))

    def _run(self, entries: list[JsonObject], key: str, cursor: SendPosition, *, unsure: bool) -> str:
        """The MLflow run of ``key``, made when there is none."""
        if key in cursor.ids:
            return cursor.ids[key]
        first = entries[0]
        tag = f"{first['journal']}/{key}"
        if unsure:
            wanted = f"tags.`{KEY}` = '{tag}'"
            runs = self._client.search_runs([self._experiment], filter_string=wanted, max_results=1)
            if runs:
                cursor.ids[key] = runs[0].info.run_id
                return cursor.ids[key]
        tags = {KEY: tag}
        if key != PARENT:
            tags["mlflow.parentRunId"] = cursor.ids[PARENT]
        run = self._client.create_run(
            self._experiment,
            start_time=_milliseconds(first["at"]),
            tags=tags,
            run_name=first.get("name", key),
        )
        cursor.ids[key] = run.info.run_id
        return cursor.ids[key]

    def _log(self, run: str, metrics: list[Any], parameters: JsonObject, tags: JsonObject) -> None:
        from mlflow.entities import Metric, Param, RunTag

        rows = [Metric(name, value, _milliseconds(at), step) for name, value, step, at in metrics]
        params = [Param(name[:250], str(value)[:6000]) for name, value in parameters.items()]
        marks = [RunTag(name[:250], str(value)[:5000]) for name, value in tags.items()]
        while rows or params or marks:
            self._client.log_batch(
                run, metrics=rows[: BATCH - 200], params=params[:PARAMETERS], tags=marks[:PARAMETERS]
            )
            rows, params, marks = rows[BATCH - 200 :], params[PARAMETERS:], marks[PARAMETERS:]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
