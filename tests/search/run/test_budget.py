"""Money and time: caps, what is kept back, projections."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import InputError
from search.config.plan import make_plan
from search.run.budget import Budget, Meter
from search.run.run_plan import budget_of, reserve_notes

positive = st.floats(0.01, 100)


def budget(price: float = 0.5, nodes: int = 2, usd: float = 20, hours: float | None = None) -> Budget:
    return Budget(price_usd=price, nodes=nodes, max_usd=usd, max_hours=hours, finish_hours=0.1)


def test_the_maximum_is_said_with_its_arithmetic() -> None:
    # 20 dollars at 2 x 0.50 an hour are 20 hours.
    assert budget().cap_hours == 20
    assert "at most $20.00 = $0.50/hour x 2 nodes x 20.0 h" in budget().explained()
    # 3 hours at 1 dollar an hour: the hours bind.
    assert "at most $3.00" in budget(hours=3).explained()
    assert "--max-hours 3" in budget(hours=3).explained()
    assert "$0.00" in budget(price=0).explained()
    assert math.isinf(budget(price=0).cap_hours)


@given(price=positive, usd=positive, hours=positive, nodes=st.integers(1, 8))
def test_the_cap_is_never_passed(price: float, usd: float, hours: float, nodes: int) -> None:
    entry = budget(price=price, usd=usd, hours=hours, nodes=nodes)
    assert entry.cap_hours <= hours
    assert entry.cap_hours * price * nodes <= usd * (1 + 1e-9)
    assert entry.cap_hours / 2 <= entry.search_hours <= entry.cap_hours


def test_running_trials_end_before_an_epoch_that_would_not_fit() -> None:
    meter = Meter(budget(hours=1.0), started=0.0)
    assert not meter.search_is_over(0.5 * 3600)
    assert meter.search_is_over(0.5 * 3600, epoch_seconds=0.4 * 3600)
    assert meter.search_is_over(0.9 * 3600)


def test_ending_the_workers_is_within_the_cap() -> None:
    """$0.40 at $10 an hour is 144 s. A reserve of 24 s becomes 60 s; workers may use half of it to end."""
    plan = make_plan({"price": 10.0, "max_cost": 0.4, "finish_minutes": 0.4}, {})
    meter = Meter(budget_of(plan), started=0.0)
    assert not meter.search_is_over(83.9)
    assert meter.search_is_over(84.1)
    assert meter.patience(84.0) == pytest.approx(30)
    assert meter.patience(44.0, epoch_seconds=40.0) == pytest.approx(70)  # the running epoch, and 30 s
    assert meter.patience(0.0, epoch_seconds=10.0) == 90
    assert meter.patience(140.0) == 0
    assert reserve_notes(plan) == [
        "finish_minutes is 0.4, but ending the workers alone can take half a minute: 60 s are kept back from "
        "the cap"
    ]


def test_without_a_cap_workers_have_90_seconds_or_five_epochs() -> None:
    plan = make_plan({"finish_minutes": 0.0}, {})
    meter = Meter(budget_of(plan), started=0.0)
    assert meter.patience(1e6) == 90
    assert meter.patience(1e6, epoch_seconds=30.0) == 150
    assert reserve_notes(plan) == []
    assert reserve_notes(make_plan({"price": 1.0}, {})) == []


def test_earlier_sessions_count() -> None:
    meter = Meter(budget(), started=100.0, before_seconds=3600.0)
    assert meter.hours(100.0) == 1.0
    assert meter.usd(100.0 + 1800) == pytest.approx(1.5)


def test_milestones_are_told_once() -> None:
    meter = Meter(budget(hours=1.0), started=0.0)
    messages = [meter.milestone(share * 3600) for share in (0.1, 0.5, 0.6, 0.95, 0.99, 1.0, 1.2)]
    assert messages == [None, 0.5, None, 0.8, None, 1.0, None]


def test_dollars_count_from_the_first_create_call() -> None:
    meter = Meter(budget(price=2.0, nodes=1), started=100.0, before_usd=0.3, rented_before=0.3)
    assert meter.usd(100.0) == 0.3  # of machines that came up before the search began
    assert meter.usd(100.0 + 1800) == pytest.approx(1.3)
    assert meter.hours(100.0 + 1800) == 0.5
    text = budget(price=2.0, nodes=1, usd=100.0, hours=1.0).explained(before_usd=0.3)
    assert "costs at most $2.30 = $0.30 before the search + $2.00/hour" in text


@pytest.mark.parametrize("wrong", [{"price": -1.0}, {"usd": -0.5}, {"usd": math.nan}, {"hours": 0.0}])
def test_a_negative_budget_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        budget(**wrong)
