"""report.html: a run on one page, made from its results.json and trials.json alone."""

from __future__ import annotations

from pathlib import Path

from recsys.io import write_atomic
from search.report.page import render
from search.results import read_results, read_trials
from search.results.outcome import Outcome

REPORT = "report.html"


def write_report(folder: Path, outcome: Outcome | None = None) -> Path:
    """Make ``folder``/report.html (its path is given). ``outcome`` is not needed: the files say it all."""
    return write_atomic(folder / REPORT, render(read_results(folder), read_trials(folder)).encode())
