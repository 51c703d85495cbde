"""JSON codec of trial results; NaN and infinity (a diverged epoch) become null."""

from __future__ import annotations

import dataclasses
import math
from enum import Enum
from typing import Any

from pydantic import TypeAdapter

from recsys.training.trial_types import EpochReport, RunEvent, TrialResult
from recsys.types import JsonObject

_TRIALS = TypeAdapter(TrialResult)
_REPORTS = TypeAdapter(EpochReport)
_EVENTS = TypeAdapter(RunEvent)


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
    """``trial`` as the content of ``result.json``."""
    result: JsonObject = plain(trial)
    return result


def trial_from_json(row: JsonObject) -> TrialResult:
    """The trial of ``row``, by the inverse of ``trial_to_json``; fields of a later version are ignored."""
    return _TRIALS.validate_python(row)


def report_from_json(row: JsonObject) -> EpochReport:
    """The report that ``plain`` converted to ``row``; metrics that were not finite become NaN."""
    return _REPORTS.validate_python(row)


def event_from_json(row: JsonObject) -> RunEvent:
    """The event that ``plain`` converted to ``row``."""
    return _EVENTS.validate_python(row)
