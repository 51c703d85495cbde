"""report.html: a run on one page, made from its results.json and trials.json alone."""

from __future__ import annotations

from pathlib import Path

from recsys.io import write_atomic
from search.report.page import render
from search.results import read_results, read_trials

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Make ``folder``/report.html of its results.json and trials.json; its path is returned."""
    return write_atomic(folder / REPORT, render(read_results(folder), read_trials(folder)).encode())
