"""What a run leaves as figures: results.json and trials.json.

``write_results(folder, outcome)`` makes both; the readers are what the report, the experiments and a
warm start use. ``schema.py`` explains every field.
"""

from __future__ import annotations

from pathlib import Path

from recsys.types import JsonObject
from search.results import build, results_file
from search.results.outcome import Outcome
from search.results.results_file import read_results
from search.results.schema import Results
from search.results.summary import summary_text
from search.storage.json_files import read_trials, trial_from_json, trial_to_json, write_trials

__all__ = [
    "Results",
    "read_results",
    "read_trials",
    "summary_text",
    "trial_from_json",
    "trial_to_json",
    "write_results",
    "write_trials",
]


def write_results(folder: Path, outcome: Outcome, *, promotion: JsonObject | None = None) -> Path:
    """Write ``folder``/trials.json, then results.json (its path is given): each whole or not at all."""
    results = build.build_results(outcome, promotion=promotion)
    write_trials(folder, outcome.trials)
    return results_file.write_results(folder, results)
