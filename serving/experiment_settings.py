"""The experiment of a deployment's YAML: arms, shares, and the metrics that it is judged by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.assignment import check_shares
from serving.domain import ArmSpec, ExperimentKind, ExperimentState, FeedbackKind, Number, SettingName, Share
from serving.experiments.experiment_metrics import ACCURACY, HIT_RATE, Metric, metric_set

NO_RELEASE = (
    "no release was named: make one with `python search/breakthrough.py`, then start "
    "`python -m serving serve --release runs/NAME/release`"
)
SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-6, 1e6  # squared outcomes neither overflow nor vanish


class SettingsModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EventSettings(SettingsModel):
    """A conversion's ``weight``; ``at_least`` is the smallest value that counts (a rating's stars)."""

    weight: Annotated[Number, Field(ge=SMALLEST_WEIGHT, le=LARGEST_WEIGHT)] = 1.0
    at_least: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse_weight(cls, rule: Any) -> Any:
        return {"weight": rule} if isinstance(rule, int | float) and not isinstance(rule, bool) else rule


class MetricSettings(SettingsModel):
    """One metric. ``events`` maps kinds of feedback, custom ones too, to a weight or a rule; ``exposures``
    counts all lists served, or only those seen (an ``impression`` or a conversion)."""

    events: dict[FeedbackKind, EventSettings] = Field(min_length=1)
    exposures: Literal["served", "seen"] = "served"

    @field_validator("events")
    @classmethod
    def _check_at_least(cls, events: dict[str, EventSettings]) -> dict[str, EventSettings]:
        without = sorted(kind for kind, rule in events.items() if rule.at_least is not None)
        if without and without != ["rating"]:
            raise ValueError(
                f"at_least is for ratings, no other feedback has a value: give {without} a weight alone"
            )
        return events


class ExperimentSettings(SettingsModel):
    """An experiment as YAML, see ``ExperimentState``.

    A new ``salt`` reassigns all users. ``metrics`` has ``primary`` (the name of the metric that decides) and
    a rule for each further name; ``hit_rate`` and ``accuracy`` always exist. ``kind: interleaved`` merges the
    lists of all arms with a share for each user. ``segments`` are columns of the release's user table:
    secondary results are broken down by them."""

    name: SettingName = "main"
    kind: ExperimentKind = "split"
    salt: Annotated[str, Field(max_length=200)] = "main"
    arms: list[ArmSpec] = Field(default_factory=list)
    holdout: Share = 0.0
    overrides: dict[str, str] = Field(default_factory=dict)
    metrics: dict[SettingName, MetricSettings | str] = Field(default_factory=dict)
    segments: list[str] = Field(default_factory=list, max_length=10)

    @model_validator(mode="after")
    def _check_metric_names(self) -> ExperimentSettings:
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
        """``metrics`` as JSON values, with defaults filled in."""
        return {
            name: rule.model_dump() if isinstance(rule, MetricSettings) else rule
            for name, rule in self.metrics.items()
        }

    @property
    def primary(self) -> str:
        """The name of the metric that decides."""
        return metric_set(self.rules).primary

    def measured(self, metrics: JsonObject | None = None) -> tuple[Metric, ...]:
        """The metrics that count conversions, primary first; ``metrics`` replaces the settings' own."""
        return metric_set(self.rules if metrics is None else metrics).metrics

    def state(self) -> ExperimentState:
        """Revision 0 of the experiment, validated. Raises InputError."""
        if not self.arms:
            raise InputError(NO_RELEASE)
        state = ExperimentState(
            self.name,
            0,
            self.salt,
            tuple(self.arms),
            holdout=self.holdout,
            overrides=dict(self.overrides),
            kind=self.kind,
        )
        check_shares(state)
        return state


def first_fault(error: ValidationError) -> str:
    """The first validation error on one line: field, expectation, value."""
    first = error.errors()[0]
    # Pydantic names the branches of a union, which the YAML does not.
    names = [str(name) for name in first["loc"] if name not in ("MetricSettings", "str", "[key]")]
    words = first["msg"].removeprefix("Value error, ")
    if not names and words != first["msg"]:
        return words  # a rule of the whole model, which names its fields itself
    return f"{'.'.join(names) or 'the top level'}: {words} (got {str(first['input'])[:80]!r})"
