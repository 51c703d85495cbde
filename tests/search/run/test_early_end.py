"""A search ends at its target loss, and on a plateau when the next dollar buys nothing."""

from __future__ import annotations

import pytest

from recsys.errors import InputError
from recsys.training.trial_types import TrialResult, TrialSpec, TrialStatus
from search.config.plan import PlateauOptions, make_plan
from search.run.early_end import early_end, plateau_reached, target_reached


def trial(
    number: int,
    rmse: float | None,
    *,
    loss: float | None = None,
    origin: str = "search",
    seconds: float = 360.0,
) -> TrialResult:
    spec = TrialSpec(
        number=number,
        name="t",
        family="hybrid_vae",
        config={},
        epochs=2,
        seed=0,
        prunable=True,
        origin=origin,
    )
    status = TrialStatus.FAILED if rmse is None else TrialStatus.FINISHED
    return TrialResult(spec, status, 1, loss, rmse, rmse, 0.0, 1, seconds, "")


def test_the_target_is_of_the_loss_on_valid() -> None:
    plan = make_plan({}, {"target_loss": 0.55})
    assert target_reached(plan, []) is None
    assert (
        target_reached(plan, [trial(0, 0.9, loss=0.551), trial(1, None), trial(2, 0.9, loss=float("nan"))])
        is None
    )
    said = target_reached(plan, [trial(0, 0.9, loss=0.6), trial(1, 0.9, loss=0.55)])
    assert said is not None
    assert "trial 1" in said
    assert "0.5500" in said
    assert target_reached(make_plan({}, {}), [trial(0, 0.1, loss=0.01)]) is None


def test_a_plateau_is_of_searched_trials() -> None:
    rule = PlateauOptions(trials=3, improvement=0.001, usd=0.0)
    rows = [
        trial(0, 0.95, origin="formula"),
        trial(1, 0.90),
        trial(2, 0.8995),
        trial(3, 0.91),
        trial(4, None),
    ]
    said = plateau_reached(rule, rows, usd_per_hour=0.0, at_once=1)
    assert said is not None  # 0.9000 -> 0.8995 in three trials, one of which failed
    assert "improved the best rmse by 0.0005 stars, less than 0.001" in said
    assert plateau_reached(rule, [*rows, trial(5, 0.898)], usd_per_hour=0.0, at_once=1) is None
    baseline = [*rows[:3], trial(3, 0.95, origin="baseline"), trial(4, 0.95, origin="baseline")]
    assert plateau_reached(rule, baseline, usd_per_hour=0.0, at_once=1) is None
    assert (
        plateau_reached(PlateauOptions(), rows, usd_per_hour=0.0, at_once=1) is None
    )  # off unless asked for


def test_a_plateau_is_of_at_least_a_dollar() -> None:
    rule = PlateauOptions(trials=2, improvement=0.001, usd=1.0)
    rows = [trial(0, 0.95), trial(1, 0.90), *(trial(number, 0.90) for number in range(2, 11))]
    # 360 s at $1 an hour are 10 cents: the last dollar is ten trials, and the first of them won 0.05.
    assert plateau_reached(rule, rows, usd_per_hour=1.0, at_once=1) is None
    said = plateau_reached(rule, [*rows, trial(11, 0.90)], usd_per_hour=1.0, at_once=1)
    assert said is not None
    assert "and $1.00 improved" in said
    assert plateau_reached(rule, rows, usd_per_hour=2.0, at_once=1) is not None
    assert plateau_reached(rule, rows, usd_per_hour=2.0, at_once=2) is None  # two share the hour


def test_the_target_comes_first() -> None:
    plan = make_plan({}, {"target_loss": 0.9, "plateau.trials": 1, "plateau.usd": 0})
    rows = [trial(0, 0.9, loss=0.8), trial(1, 0.9, loss=0.8)]
    result = early_end(plan, rows, usd_per_hour=0.0, at_once=1)
    assert result is not None
    assert result[0] == "target"
    plateau = early_end(make_plan({}, {"plateau.trials": 1}), rows, usd_per_hour=0.0, at_once=1)
    assert plateau is not None
    assert plateau[0] == "plateau"


@pytest.mark.parametrize(
    "change",
    [{"target_loss": 0}, {"target_loss": "low"}, {"target_loss": float("nan")}, {"plateau.trials": -1},
     {"plateau.dollars": 1}, {"plateau": 3}, {"max_hours": float("inf")}],
)  # fmt: skip
def test_mistyped_rules_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make_plan({}, change)
