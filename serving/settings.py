"""What a deployment is told: the YAML's ``args`` and the command line, as one checked value.

Secrets are not in it: RECSYS_API_KEY and RECSYS_ADMIN_TOKEN come from the environment of the processes.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.rate_limit import parse_rate
from serving.assignment import check_shares
from serving.catalogue.rule_set import RuleSet
from serving.domain import ArmSpec, ExperimentKind, ExperimentState, FeedbackKind, Number, SettingName, Share
from serving.events.spool import spool_folder
from serving.experiments.experiment_metrics import (
    ACCURACY,
    HIT_RATE,
    Metric,
    metric_set,
    seconds_of,
)
from serving.experiments.guardrails import Limits
from serving.operation_settings import OperationSettings


def _rate(text: str) -> str:
    parse_rate(text)
    return text


Rate = Annotated[str, AfterValidator(_rate)]
NO_RELEASE = (
    "no release was named: make one with `python search/breakthrough.py`, then start "
    "`python -m serving serve --release runs/NAME/release`"
)


SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-6, 1e6  # squares of outcomes stay far from the ends of floats


class SettingsModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EventSettings(SettingsModel):
    """``weight`` of a conversion, and the value ``at_least`` from which on it is one (a rating's stars)."""

    weight: Annotated[Number, Field(ge=SMALLEST_WEIGHT, le=LARGEST_WEIGHT)] = 1.0
    at_least: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_the_weight(cls, rule: Any) -> Any:
        return {"weight": rule} if isinstance(rule, int | float) and not isinstance(rule, bool) else rule


class MetricSettings(SettingsModel):
    """``events`` maps a kind of feedback, your own kinds too, to its weight or its rule. ``exposures`` counts
    all lists that were served, or those that were seen (by an ``impression`` event or a conversion)."""

    events: dict[FeedbackKind, EventSettings] = Field(min_length=1)
    exposures: Literal["served", "seen"] = "served"

    @field_validator("events")
    @classmethod
    def _only_ratings_have_values(cls, events: dict[str, EventSettings]) -> dict[str, EventSettings]:
        without = sorted(kind for kind, rule in events.items() if rule.at_least is not None)
        if without and without != ["rating"]:
            raise ValueError(
                f"at_least is for ratings, no other feedback has a value: give {without} a weight alone"
            )
        return events


class ExperimentSettings(SettingsModel):
    """``salt`` decides who is where; a new one deals everybody anew. As in ``ExperimentState``. ``metrics``
    has a ``primary`` (the name that decides) and a rule for each other name; ``hit_rate`` and ``accuracy``
    are there always. ``kind: interleaved`` merges the lists of all arms with a share for each person.
    ``segments`` are columns of the users' table that the release was made with: secondary results by them."""

    name: SettingName = "main"
    kind: ExperimentKind = "split"
    salt: Annotated[str, Field(max_length=200)] = "main"
    arms: list[ArmSpec] = Field(default_factory=list)
    holdout: Share = 0.0
    overrides: dict[str, str] = Field(default_factory=dict)
    metrics: dict[SettingName, MetricSettings | str] = Field(default_factory=dict)
    segments: list[str] = Field(default_factory=list, max_length=10)

    @model_validator(mode="after")
    def _metrics_are_named(self) -> ExperimentSettings:
        rules = [name for name, rule in self.metrics.items() if isinstance(rule, MetricSettings)]
        primary = self.metrics.get("primary", HIT_RATE)
        words = sorted(self.metrics.keys() - set(rules) - {"primary"})
        if words or "primary" in rules or ACCURACY in rules:
            raise ValueError(f"metrics need rules with events, got {words or rules}")
        if primary not in (*rules, HIT_RATE, ACCURACY):
            raise ValueError(f"the primary metric {primary!r} is none of {[*rules, HIT_RATE, ACCURACY]}")
        return self

    @property
    def rules(self) -> JsonObject:
        """``metrics`` as plain values, defaults written out."""
        return {
            name: rule.model_dump() if isinstance(rule, MetricSettings) else rule
            for name, rule in self.metrics.items()
        }

    @property
    def primary(self) -> str:
        """The name of the metric that decides."""
        return metric_set(self.rules).primary

    def measured(self, own: JsonObject | None = None) -> tuple[Metric, ...]:
        """The metrics that count conversions, the primary one first; an experiment's ``own`` where given."""
        return metric_set(self.rules if own is None else own).metrics

    def state(self) -> ExperimentState:
        """Revision 0, checked. Raises InputError."""
        if not self.arms:
            raise InputError(NO_RELEASE)
        made = ExperimentState(
            self.name,
            0,
            self.salt,
            tuple(self.arms),
            holdout=self.holdout,
            overrides=dict(self.overrides),
            kind=self.kind,
        )
        check_shares(made)
        return made


class OperationsArgs(SettingsModel):
    """``window_seconds`` after a user's first list their outcome counts (seconds, or "36 hours", "7 days");
    ``notify`` a JSON webhook (Discord's comes from DISCORD_WEBHOOK_URL)."""

    window_seconds: Annotated[float, Field(gt=0)] = 86_400.0
    tick_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    limits: Limits = Field(default_factory=Limits)
    notify: str | None = None

    @field_validator("limits", mode="before")
    @classmethod
    def _primary_is_the_experiments(cls, limits: Any) -> Any:
        if isinstance(limits, dict) and "primary" in limits:
            raise ValueError("the primary metric is the experiment's: name it in experiment.metrics.primary")
        return limits

    @field_serializer("limits")
    def _as_given(self, limits: Limits) -> dict[str, float | None]:
        return {name: value for name, value in asdict(limits).items() if name != "primary"}

    @field_validator("window_seconds", mode="before")
    @classmethod
    def _in_words(cls, window: Any) -> Any:
        return seconds_of(window) if isinstance(window, str) else window

    def as_settings(self, experiment: ExperimentSettings | None = None) -> OperationSettings:
        """What the operations process is given; the metrics are the experiment's."""
        experiment = experiment or ExperimentSettings()
        return OperationSettings(
            window_seconds=self.window_seconds,
            tick_seconds=self.tick_seconds,
            limits=replace(self.limits, primary=experiment.primary),
            metrics=experiment.measured(),
            segments=tuple(dict.fromkeys(experiment.segments)),
        )


class AutoscalingSettings(SettingsModel):
    """Replicas that follow the load, from ``replicas`` up to ``max_replicas``: as many as keep each one's
    requests in flight near ``target_ongoing_requests`` on average and its use of a core near ``target_busy``;
    ``upscale_seconds`` and ``downscale_seconds`` are how long more or fewer must be asked for."""

    max_replicas: Annotated[int, Field(ge=1, le=64)]
    target_ongoing_requests: Annotated[float, Field(gt=0, le=1024)] = 2.0
    target_busy: Annotated[float, Field(gt=0, le=1)] = 0.7
    upscale_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    downscale_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300.0


class Settings(SettingsModel):
    """``deadline_ms`` is when a list falls back to popular items; ``max_in_flight`` how many lists a replica
    computes at once before it refuses more with 503; ``events`` a file or a database URL;
    ``spool`` the folder for what waits to be written (default: beside the file); ``metrics_folder`` is
    shared by the replicas of a machine; ``rate_limit`` what a key (without keys: an address) may ask of one
    replica, as "100/second"; ``trace`` sends OpenTelemetry spans (extra trace); ``hash_user_ids`` false
    writes ids into the access log as they are, where an erasure does not reach them; ``cors_origins`` are
    pages of other sites that may ask (``https://shop.example``); ``allowed_hosts`` names that a service
    without a key answers to beside addresses; ``lists`` is the folder of stored lists, which a process of
    the lowest priority makes beside the replicas with at most ``lists_cpu`` of a core (0: only ``precompute``
    makes them); ``drain_seconds`` is how long /readyz says no before the end, so that balancers notice;
    ``autoscaling`` lets replicas follow the load, with ``replicas`` as the fewest."""

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
        """Replicas run in another folder than the command did."""
        if isinstance(fields, dict):
            fields = dict(fields)
            for name in ("spool", "access_log", "log_file", "events", "metrics_folder", "lists"):
                value = fields.get(name, cls.model_fields[name].default)
                if isinstance(value, str) and "://" not in value:
                    fields[name] = str(Path(value).absolute())
        return fields

    @model_validator(mode="after")
    def _replica_bounds(self) -> Settings:
        if self.autoscaling is not None and self.autoscaling.max_replicas < self.replicas:
            raise ValueError(
                f"autoscaling.max_replicas is {self.autoscaling.max_replicas}, expected replicas "
                f"({self.replicas}) or more"
            )
        return self

    @property
    def most_replicas(self) -> int:
        """Replicas that there may be at once."""
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
        """The log file of all processes: ``log_file``, or beside the event store."""
        if self.log_file is not None:
            return Path(self.log_file)
        return spool_folder(self.events).with_suffix(".log")

    @property
    def lists_path(self) -> Path:
        """Where ``precompute`` stores lists and the server looks for them."""
        if self.lists is not None:
            return Path(self.lists)
        file = self.events.removeprefix("sqlite:///")
        return Path("runs/lists").absolute() if "://" in file else Path(f"{file}.lists")

    @property
    def spool_folder(self) -> Path:
        return Path(self.spool) if self.spool is not None else spool_folder(self.events)


def read_settings(fields: Any, *, where: str) -> Settings:
    """Raises InputError that names the first thing wrong in ``where``."""
    try:
        return Settings.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{where}: {first_fault(error)}") from None


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong, on one line: where, what was expected, what was got."""
    first = error.errors()[0]
    # The branches of a union (a rule of ``metrics``, or a name) are no names that anybody wrote.
    names = [str(name) for name in first["loc"] if name not in ("MetricSettings", "str", "[key]")]
    words = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(names)}: {words} (got {str(first['input'])[:80]!r})" if names else f"{words}"
