"""trials.json of a run, and JSON files that people may have broken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.io import write_atomic
from recsys.training.serialization import trial_from_json, trial_to_json
from recsys.training.trial_types import TrialResult
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


def read_json(path: Path, advice: str) -> Any:
    """The parsed content of ``path``. Raises InputError, ending in ``advice``, where it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"no {path.name} in {path.parent}: {advice}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({type(error).__name__}): {advice}") from None
