"""Where a run will end, worked by hand: needed hours are not clipped at the cap."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from recsys.training.trial_types import EpochReport, TrialResult, TrialSpec, TrialStatus
from search.config.plan import SearchPlan, make_plan
from search.run.budget import Budget, Meter
from search.run.forecasts import EPOCHS, ForecastLog
from search.run.projection import Projection, Projector
from search.run.run_state import RunState
from search.sampling.trial_slots import trial_sequence

PLAN = make_plan(
    {
        "trials": 12,
        "epochs": 10,
        "baselines": [],
        "reference": {"enabled": False},
        "pruning": {"enabled": False},
        "concurrency": 2,
        "objective": "rating",
    },
    {},
)


def report(epoch: int, seconds: float) -> EpochReport:
    return EpochReport(epoch, seconds, 1.0, 1.0, 1.0, 1.0, 1.0)


def spec_of(number: int, origin: str = "search") -> TrialSpec:
    return TrialSpec(
        number=number,
        name="t",
        family="hybrid_vae",
        config={},
        epochs=10,
        seed=0,
        prunable=True,
        origin=origin,
    )


def ended(number: int, *, epochs: int = 10, seconds: float = 100.0) -> TrialResult:
    reports = tuple(report(epoch + 1, seconds / epochs) for epoch in range(epochs))
    return TrialResult(
        spec_of(number), TrialStatus.FINISHED, epochs, 1.0, 1.0, 1.0, 0.0, 1, seconds, "", reports
    )


def projector_of(
    plan: SearchPlan = PLAN, *, hours: float | None, done: int = 2, epochs: int = 10
) -> tuple[Projector, Meter]:
    run_state = RunState(planned=plan.trials, clock=time.time)
    for number in range(done):
        run_state.ended(ended(number, epochs=epochs))
    meter = Meter(Budget(price_usd=1.0, nodes=1, max_usd=100, max_hours=hours, finish_hours=0.1), started=0.0)
    return Projector(plan, trial_sequence(plan), run_state, meter), meter


def test_a_run_that_fits() -> None:
    projector, _ = projector_of(hours=None)
    seen = projector.project(0.1 * 3600)
    # Ten trials of 100 s, two at once, after 0.1 h, and 0.1 h for the end.
    assert seen is not None
    assert seen.needed_hours == pytest.approx(0.1 + 500 / 3600 + 0.1)
    assert (seen.reached, seen.planned, seen.end_hours) == (12, 12, seen.needed_hours)
    assert seen.text() == "about 14.3 min left"


def test_a_run_that_does_not_fit_says_what_it_needs_and_what_would_change_nothing() -> None:
    projector, _ = projector_of(hours=0.3)
    seen = projector.project(0.15 * 3600)
    # 0.05 h of search left for two at once: 360 s of trials of 100 s are 3 more.
    assert seen is not None
    assert seen.needed_hours == pytest.approx(0.15 + 500 / 3600 + 0.1)
    assert (seen.reached, seen.end_hours, seen.same_trials) == (5, 0.3, 5)
    text = Projection(24, 14, 1.0, 9.3, 6.0, 14).text()
    assert (
        text == "needs 9.3 h, will end at 6.0 h after about 14 of 24 trials; --trials 14 would change nothing"
    )


def test_a_forecast_keeps_back_what_finishing_was_measured_to_need() -> None:
    projector, meter = projector_of(hours=0.3)
    meter.finish_seconds = 0.12 * 3600  # 0.1 h were planned: the search ends after 0.18 h
    seen = projector.project(0.15 * 3600)
    assert seen is not None
    assert seen.needed_hours == pytest.approx(0.15 + 500 / 3600 + 0.12)
    assert (seen.reached, seen.end_hours) == (4, 0.3)  # 0.03 h for two at once: 2 more trials of 100 s


def test_before_the_first_epochs_nothing_is_claimed() -> None:
    projector, _ = projector_of(hours=1.0, done=0)
    assert projector.project(60.0) is None
    projector.epoch(spec_of(0), report(1, 10.0))
    assert projector.project(60.0) is None
    projector.epoch(spec_of(0), report(2, 30.0))
    seen = projector.project(60.0)  # 12 trials of 10 epochs of 20 s, two at once
    assert seen is not None
    assert seen.needed_hours == pytest.approx((60 + 12 * 200 / 2) / 3600 + 0.1)


def test_trials_that_stop_early_shorten_those_to_come() -> None:
    whole, early = projector_of(hours=None)[0], projector_of(hours=None, epochs=5)[0]
    later = [projector.project(0.0) for projector in (whole, early)]
    assert later[0] is not None
    assert later[1] is not None
    # 5 epochs of 20 s instead of 10 of 10 s: the same seconds a trial.
    assert later[0].needed_hours == pytest.approx(later[1].needed_hours)
    pruned = make_plan({**PLAN.model_dump(), "pruning": {"grace_epochs": 5, "reduction": 2}}, {})
    projector, _ = projector_of(pruned, hours=None, done=0)
    for epoch in (1, 2):
        projector.epoch(spec_of(0), report(epoch, 20.0))
    seen = projector.project(0.0)
    assert seen is not None  # formula and template 200 s, ten searched ones 5 + 5 / 2 epochs
    assert seen.needed_hours == pytest.approx((400 + 10 * 7.5 * 20) / 2 / 3600 + 0.1)


def test_running_trials_count_for_what_they_still_need() -> None:
    projector, _ = projector_of(hours=None)
    run_state = projector._run_state
    run_state.started(spec_of(2))
    run_state.reported(2, report(9, 10.0))
    seen = projector.project(0.0)
    assert seen is not None
    assert seen.needed_hours == pytest.approx((9 * 100 + 10) / 2 / 3600 + 0.1)


def test_list_trials_cost_what_list_trials_cost() -> None:
    """Two rating trials of 100 s have ended; 10 to come, and 6 of lists, of which one took 3 s."""
    plan = PLAN.model_copy(update={"objective": "both", "list_trials": 6})
    projector, _ = projector_of(plan, hours=None)
    before = projector.project(0.0)
    assert before is not None
    assert before.needed_hours == pytest.approx(10 * 100 / 2 / 3600 + 0.1)
    spec = replace(spec_of(12), family="als", epochs=1, track="lists")
    figures = {"ndcg_at_10": 0.3, "precision_at_10": 0.2, "milliseconds_a_list": 1.0}
    entry = TrialResult(
        spec, TrialStatus.FINISHED, None, None, None, None, 0.0, 0, 3.0, "", list_metrics=figures
    )
    projector._run_state.ended(entry)
    projector.ended(entry)
    seen = projector.project(0.0)
    assert seen is not None
    assert seen.needed_hours == pytest.approx((10 * 100 + 5 * 3) / 2 / 3600 + 0.1)


def test_the_first_forecast_is_kept_once() -> None:
    projector, meter = projector_of(hours=0.3)
    log = ForecastLog({}, projector, meter)
    log.before(PLAN, None)  # no rented card, no model of it
    assert log.rows == []
    log.first_epochs(0.15 * 3600)
    log.first_epochs(0.2 * 3600)
    (row,) = log.rows
    assert (row["made"], row["trials"], row["hours"]) == (EPOCHS, 5, 0.3)
    assert row["usd"] == pytest.approx(0.3)
