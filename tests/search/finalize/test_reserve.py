"""What the end of a run needs is measured on its trials, and what does not fit is left out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from recsys.data.split import SLICES
from search.config.plan import make_plan
from search.finalize.reserve import finish_seconds, retrain_seconds
from search.run.budget import Budget, Meter
from search.run.run_state import RunState
from tests.search.made_runs import make_run


def test_retraining_costs_what_the_trials_took_on_more_ratings(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    trial = replace(run.trials[0], seconds=100.0, best_epoch=len(run.trials[0].reports))
    rows = sum(len(run.split.rows(name)) for name in SLICES)
    expected = 100.0 * rows / len(run.split.train)
    assert retrain_seconds([trial], run.split, SLICES) == pytest.approx(expected)
    plain, refit = make_plan({}, {}), make_plan({"refit": True}, {})
    assert finish_seconds(plain, [trial], run.split) == 60 * plain.finish_minutes
    assert finish_seconds(refit, [trial], run.split) == pytest.approx(60 * plain.finish_minutes + expected)


def test_the_search_ends_early_enough_for_what_follows() -> None:
    meter = Meter(Budget(0.0, 1, 20.0, 1.0, 0.05), started=0.0)
    assert not meter.search_is_over(2400)
    meter.finish_seconds = 1300
    assert meter.search_is_over(2400)
    meter.finish_seconds = 3000
    assert not meter.search_is_over(1700)  # half of the cap is the search's
    assert meter.seconds_left(3000) == pytest.approx(600)


def test_a_machine_that_slows_down_has_more_kept_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=2)
    trial = run.trials[0]
    state = RunState(planned=1, clock=lambda: 0.0)
    state.started(trial.spec)

    def after(*seconds: float) -> float:
        for each in seconds:
            state.reported(trial.spec.number, replace(trial.reports[0], seconds=each))
        return state.slowdown

    assert after(math.nan, 10.0) == 1.0
    assert after(9.0, 10.0, 11.0) == pytest.approx(1.05, abs=0.1)
    assert after(20.0) < 1.3  # one slow epoch is not a slow machine
    assert after(20.0, 20.0) == pytest.approx(2.0, abs=0.1)
    assert after(200.0, 200.0, 200.0) == 3.0
    plan = make_plan({}, {})
    assert finish_seconds(plan, [], run.split, slowdown=state.slowdown) == 180 * plan.finish_minutes
