"""JSON codec of trial results; NaN and infinity (a diverged epoch) become null."""

from __future__ import annotations

import dataclasses
import math
from enum import Enum
from typing import Any

from recsys.training.trial_types import (
    ConfigChange,
    EpochReport,
    EventKind,
    RunEvent,
    TrialResult,
    TrialSpec,
    TrialStatus,
)
from recsys.types import JsonObject


def plain(value: Any) -> Any:
    """Converts a value to what JSON can hold.

    Args:
        value: Dataclasses, dicts, lists, enums and numpy scalars, nested as they may be.

    Returns:
        Dicts, lists, strings and numbers; None for NaN and infinity.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def trial_to_json(trial: TrialResult) -> JsonObject:
    """A trial as the content of ``result.json``."""
    result: JsonObject = plain(trial)
    return result


def trial_from_json(row: JsonObject) -> TrialResult:
    """The inverse of ``trial_to_json``; fields of a later version are ignored."""
    fields = _known_fields(TrialResult, row)
    fields["spec"] = TrialSpec(**_known_fields(TrialSpec, row["spec"]))
    fields["status"] = TrialStatus(row["status"])
    fields["reports"] = tuple(report_from_json(report) for report in row["reports"])
    fields["events"] = tuple(event_from_json(event) for event in row["events"])
    fields["config_changes"] = tuple(
        ConfigChange(**_known_fields(ConfigChange, change)) for change in row.get("config_changes", ())
    )
    return TrialResult(**fields)


def report_from_json(row: JsonObject) -> EpochReport:
    """The report that ``plain`` converted; metrics that were not finite come back as NaN."""
    fields = _known_fields(EpochReport, row)
    figures: JsonObject = {name: math.nan if value is None else value for name, value in fields.items()}
    return EpochReport(**figures)


def event_from_json(row: JsonObject) -> RunEvent:
    """The event that ``plain`` converted."""
    return RunEvent(**{**_known_fields(RunEvent, row), "kind": EventKind(row["kind"])})


def _known_fields(kind: type[Any], row: JsonObject) -> JsonObject:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in row.items() if name in names}
