"""SIGKILL at every step of the controller: it ends as an unbroken cycle does, nothing is done twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_killed_in_four_places_of_every_step_the_cycle_ends_as_without() -> None:
    # A process of its own: it forks, and the tests' has threads.
    words = [sys.executable, "-m", "tests.benchmarks.loop_kills"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "32 kills; all as without: True; revisions 7, searches 1" in done.stdout
    assert "28 kills; all as without: True; revisions 4, searches 1" in done.stdout
