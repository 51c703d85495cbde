"""Trials as JSON, and trials.json.

NaN and infinity (a diverged epoch) are written as null, and read back as NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.io import write_atomic
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
from search.storage.schema_version import check_version

TRIALS = "trials.json"
TRIALS_VERSION = 1


def write_trials(folder: Path, trials: Sequence[TrialResult]) -> Path:
    """``folder``/trials.json: every trial with its epochs and events."""
    rows = [trial_to_json(trial) for trial in trials]
    return write_atomic(
        folder / TRIALS, json.dumps({"schema_version": TRIALS_VERSION, "trials": rows}).encode()
    )


def read_trials(folder: Path) -> list[TrialResult]:
    """The trials of a run's folder, in the order they were written."""
    document = read_json(folder / TRIALS, "a folder that a run left was expected")
    check_version(document, folder / TRIALS, newest=TRIALS_VERSION)
    try:
        return [trial_from_json(row) for row in document["trials"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / TRIALS} is not a list of trials: {type(error).__name__} {error}"
        ) from None


def trial_to_json(trial: TrialResult) -> JsonObject:
    """A trial as plain JSON values."""
    result: JsonObject = plain(trial)
    return result


def trial_from_json(row: JsonObject) -> TrialResult:
    """The trial that ``trial_to_json`` was given; unknown fields of a later version are left out."""
    reports = tuple(EpochReport(**_known(EpochReport, report, nan=True)) for report in row["reports"])
    events = tuple(
        RunEvent(**{**_known(RunEvent, event), "kind": EventKind(event["kind"])}) for event in row["events"]
    )
    fields = _known(TrialResult, row)
    fields["spec"] = TrialSpec(**_known(TrialSpec, row["spec"]))
    fields["status"] = TrialStatus(row["status"])
    fields["config_changes"] = tuple(
        ConfigChange(**_known(ConfigChange, change)) for change in row.get("config_changes", ())
    )
    return TrialResult(**{**fields, "reports": reports, "events": events})


def _known(kind: type[Any], row: JsonObject, *, nan: bool = False) -> JsonObject:
    names = {field.name for field in dataclasses.fields(kind)}
    return {
        name: math.nan if nan and value is None else value for name, value in row.items() if name in names
    }


def plain(value: Any) -> Any:
    """``value`` as JSON has it: dataclasses and enums opened, numpy scalars plain, NaN as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, EventKind | TrialStatus):
        return value.value
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_json(path: Path, advice: str) -> Any:
    """The parsed content of ``path``. Raises InputError, ending in ``advice``, where it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"no {path.name} in {path.parent}: {advice}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({type(error).__name__}): {advice}") from None
