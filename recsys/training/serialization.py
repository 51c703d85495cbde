"""Trial results as plain JSON and back: NaN becomes null, enums their value."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
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


def to_plain(value: Any) -> Any:
    """``value`` with everything in it as JSON allows it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(one) for one in value]
    return value


def result_to_json(result: TrialResult) -> JsonObject:
    facts: JsonObject = to_plain(asdict(result))
    return facts


def report_from_json(facts: JsonObject) -> EpochReport:
    """Figures that were not finite come back as NaN."""
    values: JsonObject = {name: math.nan if value is None else value for name, value in facts.items()}
    return EpochReport(**values)


def event_from_json(facts: JsonObject) -> RunEvent:
    return RunEvent(**{**facts, "kind": EventKind(facts["kind"])})


def result_from_json(facts: JsonObject) -> TrialResult:
    known = {field.name for field in fields(TrialResult)}
    values = {name: value for name, value in facts.items() if name in known}
    values["spec"] = TrialSpec(**values["spec"])
    values["status"] = TrialStatus(values["status"])
    values["reports"] = tuple(report_from_json(one) for one in values.get("reports", ()))
    values["events"] = tuple(event_from_json(one) for one in values.get("events", ()))
    values["config_changes"] = tuple(ConfigChange(**one) for one in values.get("config_changes", ()))
    return TrialResult(**values)
