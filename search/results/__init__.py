"""What a run leaves as figures: results.json and trials.json.

``write_results`` makes both; the readers are what the report, the experiments and a
warm start use. ``schema.py`` explains every field.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsys.training.trial_types import TrialResult
from search.results import results_file
from search.results.results_file import read_results
from search.results.schema import Results
from search.results.summary import summary_text
from search.results.targets import judge
from search.storage.json_files import read_trials, write_trials

__all__ = [
    "Results",
    "read_results",
    "read_trials",
    "summary_text",
    "write_results",
    "write_trials",
]


def write_results(folder: Path, results: Results, trials: Sequence[TrialResult]) -> Path:
    """Write ``folder``/trials.json, then results.json (its path is returned): each whole or not at all.

    The verdicts on the plan's targets are made of the figures as they are written.
    """
    results.targets = judge(results)
    write_trials(folder, trials)
    return results_file.write_results(folder, results)
