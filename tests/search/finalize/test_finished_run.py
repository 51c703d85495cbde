"""The seconds of a run's stages add up to the time that passed."""

from __future__ import annotations

import pytest

from search.finalize import finished_run
from search.finalize.finished_run import FinishedRun
from search.results.schema import Results


def test_a_stage_inside_another_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(finished_run.time, "perf_counter", lambda: now[0])
    finished = FinishedRun(Results.model_construct(seconds={"search": 100.0, "release": 1.0}))
    with finished.timed("release"):
        now[0] += 3
        with finished.timed("list_check"):
            now[0] += 20
        with finished.timed("refit"):
            now[0] += 40
        now[0] += 2
    assert finished.results.seconds == {"search": 100.0, "release": 6.0, "list_check": 20.0, "refit": 40.0}
