"""Settings of a deployment, validated: the YAML's ``args`` with the command line's options over them.

Secrets are not part of them: RECSYS_API_KEY and RECSYS_ADMIN_TOKEN come from the environment.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from recsys.errors import InputError
from serving.api.rate_limit import parse_rate
from serving.catalogue.rule_set import RuleSet
from serving.events.engine import sqlite_file
from serving.events.spool import spool_folder
from serving.experiment_settings import ExperimentSettings, SettingsModel, first_fault
from serving.experiments.experiment_metrics import seconds_of
from serving.experiments.guardrails import Limits
from serving.operation_settings import OperationSettings


def _rate(text: str) -> str:
    parse_rate(text)
    return text


Rate = Annotated[str, AfterValidator(_rate)]


class OperationsArgs(SettingsModel):
    """``window_seconds``: a user's outcome is final this long after their first list (seconds, or "36 hours",
    "7 days"); ``notify``: a JSON webhook (Discord's comes from DISCORD_WEBHOOK_URL)."""

    window_seconds: Annotated[float, Field(gt=0)] = 86_400.0
    tick_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    limits: Limits = Field(default_factory=Limits)
    notify: str | None = None

    @field_validator("limits", mode="before")
    @classmethod
    def _refuse_primary(cls, limits: Any) -> Any:
        if isinstance(limits, dict) and "primary" in limits:
            raise ValueError("the primary metric is the experiment's: name it in experiment.metrics.primary")
        return limits

    @field_serializer("limits")
    def _serialize_limits(self, limits: Limits) -> dict[str, float | None]:
        return {name: value for name, value in asdict(limits).items() if name != "primary"}

    @field_validator("window_seconds", mode="before")
    @classmethod
    def _parse_window(cls, window: Any) -> Any:
        return seconds_of(window) if isinstance(window, str) else window

    def as_settings(self, experiment: ExperimentSettings | None = None) -> OperationSettings:
        """Settings of the operations process, with the experiment's metrics."""
        experiment = experiment or ExperimentSettings()
        return OperationSettings(
            window_seconds=self.window_seconds,
            tick_seconds=self.tick_seconds,
            limits=replace(self.limits, primary=experiment.primary),
            metrics=experiment.measured(),
            segments=tuple(dict.fromkeys(experiment.segments)),
        )


class AutoscalingSettings(SettingsModel):
    """Autoscaling from ``replicas`` up to ``max_replicas``: as many replicas as keep each one near
    ``target_ongoing_requests`` requests in flight and near ``target_busy`` of a core, on average.
    ``upscale_seconds`` and ``downscale_seconds`` are how long a change must be due before it is made."""

    max_replicas: Annotated[int, Field(ge=1, le=64)]
    target_ongoing_requests: Annotated[float, Field(gt=0, le=1024)] = 2.0
    target_busy: Annotated[float, Field(gt=0, le=1)] = 0.7
    upscale_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    downscale_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300.0


class Settings(SettingsModel):
    """One deployment: the YAML's ``args``.

    Attributes:
        host, port: the address that every replica listens on.
        replicas: processes that answer; with ``autoscaling`` the fewest.
        experiment: the arms, and how they are compared.
        events: the event store, a file or a database URL.
        spool: folder for events that wait to be written; null: next to the event store.
        rules: hidden items, boosts and diversity, until they are changed over HTTP.
        deadline_ms: milliseconds after which a list falls back to popular items.
        max_in_flight: lists that a replica computes at once; further ones are answered with 503.
        max_body_bytes: largest request body.
        poll_seconds: between two reads of the event store by a replica.
        drain_seconds: how long /readyz answers 503 before the end, so that balancers notice.
        autoscaling: replicas follow the load; null is off.
        allowed_hosts: host names, besides localhost, that a service without a key answers to.
        cors_origins: origins whose pages may call the API (``https://shop.example``).
        access_log: a file with one JSON line a request; null is off.
        log_file: errors and warnings of all processes; null: next to the event store.
        rate_limit: requests a key (without keys: an address) may send to one replica, as "100/second".
        trace: send OpenTelemetry spans (extra ``trace``).
        hash_user_ids: false writes user ids in the clear into the access log, which no erasure reaches.
        metrics_folder: shared by the replicas of a machine; null: a temporary folder.
        lists: folder of stored lists; null: next to the event store.
        lists_cpu: share of a core for the background process that stores lists; 0 is off.
        operations: statistics, drift and roll-outs.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    experiment: ExperimentSettings = Field(default_factory=ExperimentSettings)
    events: str = "runs/events.db"
    spool: str | None = None
    rules: RuleSet = Field(default_factory=RuleSet)
    deadline_ms: Annotated[float, Field(gt=0, le=60_000)] = 40.0
    max_in_flight: Annotated[int, Field(ge=1, le=1024)] = 8
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 1 << 20
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 0.2
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 0.0
    autoscaling: AutoscalingSettings | None = None
    allowed_hosts: list[str] = Field(default_factory=list)
    cors_origins: list[str] = Field(default_factory=list)
    access_log: str | None = None
    log_file: str | None = None
    rate_limit: Rate | None = None
    trace: bool = False
    hash_user_ids: bool = True
    metrics_folder: str | None = None
    lists: str | None = None
    lists_cpu: Annotated[float, Field(ge=0, le=1)] = 0.25
    operations: OperationsArgs = Field(default_factory=OperationsArgs)

    @model_validator(mode="before")
    @classmethod
    def _absolute_paths(cls, fields: Any) -> Any:
        """Replicas run in another working directory than the command."""
        if isinstance(fields, dict):
            fields = dict(fields)
            for name in ("spool", "access_log", "log_file", "events", "metrics_folder", "lists"):
                value = fields.get(name, cls.model_fields[name].default)
                if isinstance(value, str) and "://" not in value:
                    fields[name] = str(Path(value).absolute())
        return fields

    @model_validator(mode="after")
    def _check_replicas(self) -> Settings:
        if self.autoscaling is not None and self.autoscaling.max_replicas < self.replicas:
            raise ValueError(
                f"autoscaling.max_replicas is {self.autoscaling.max_replicas}, expected replicas "
                f"({self.replicas}) or more"
            )
        return self

    @property
    def most_replicas(self) -> int:
        """The largest number of replicas."""
        return self.replicas if self.autoscaling is None else self.autoscaling.max_replicas

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def metrics_path(self) -> Path:
        if self.metrics_folder is not None:
            return Path(self.metrics_folder)
        return Path(tempfile.gettempdir()) / f"recsys-metrics-{os.getuid()}-{self.port}"

    @property
    def log_path(self) -> Path:
        """The log file of all processes: ``log_file``, or next to the event store."""
        if self.log_file is not None:
            return Path(self.log_file)
        return spool_folder(self.events).with_suffix(".log")

    @property
    def lists_path(self) -> Path:
        """The folder of stored lists, shared by ``precompute`` and the server."""
        if self.lists is not None:
            return Path(self.lists)
        file = sqlite_file(self.events)
        return Path("runs/lists").absolute() if file is None else Path(f"{file}.lists")

    @property
    def spool_folder(self) -> Path:
        return Path(self.spool) if self.spool is not None else spool_folder(self.events)


def read_settings(fields: Any, *, where: str) -> Settings:
    """The settings of ``fields``. Raises InputError that names the first invalid field of ``where``."""
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{where}: {first_fault(error)}") from None
