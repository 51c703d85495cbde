"""When a trial is taken for hung: the rule alone, second by second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.tune.heartbeat import CHECKED_AT_LEAST_EVERY, TIMES, HeartbeatMonitor, HungTrial


def silent_for(
    silence: HeartbeatMonitor, seconds: float, *, since: float = 0.0, step: float = 1.0
) -> list[HungTrial]:
    """What is told of trial "a" while it says nothing from ``since`` on."""
    messages: list[HungTrial] = []
    for count in range(int(seconds / step) + 1):
        messages += silence.check(["a"], since + count * step).values()
    return messages


def after_epochs(silence: HeartbeatMonitor, *seconds: float) -> float:
    """Trial "a" trains epochs that take so long; the time then."""
    now = 0.0
    silence.check(["a"], now)
    for took in seconds:
        for _ in range(int(took)):
            now += 1.0
            assert not silence.check(["a"], now)
        silence.beat("a", epoch=took)
    return now


def test_its_own_longest_epoch_is_the_measure() -> None:
    silence = HeartbeatMonitor(floor=10, ratings=0)
    now = after_epochs(silence, 2, 30, 3)
    assert not silent_for(silence, TIMES * 30, since=now)
    hang = silence.check(["a"], now + TIMES * 30 + 1)["a"]
    assert (hang.silent, hang.allowed, hang.longest) == (TIMES * 30 + 1, TIMES * 30, 30)
    assert hang.described() == "it has said nothing for 601 s (its longest epoch took 30.0 s)"


def test_quick_epochs_have_the_floor() -> None:
    silence = HeartbeatMonitor(floor=60, ratings=0)
    now = after_epochs(silence, 1, 1)
    assert [hang.allowed for hang in silent_for(silence, 65, since=now)] == [60]


@pytest.mark.parametrize(("ratings", "allowed"), [(80_000, 600), (20_000_000, 20_000)])
def test_a_first_epoch_may_take_as_long_as_the_ratings_are_many(ratings: int, allowed: float) -> None:
    silence = HeartbeatMonitor(floor=120, ratings=ratings)
    hangs = silent_for(silence, allowed + 5)
    assert [hang.allowed for hang in hangs] == [allowed]
    assert "no epoch yet" in hangs[0].described()


def test_epochs_told_again_after_a_restart_measure_nothing() -> None:
    silence = HeartbeatMonitor(floor=10, ratings=0)
    silence.check(["a"], 0)
    for _ in range(3):
        silence.beat("a", epoch=None)
    assert [hang.allowed for hang in silent_for(silence, 52)] == [50]


def test_ranking_at_the_end_has_the_time_of_a_first_epoch() -> None:
    silence = HeartbeatMonitor(floor=10, ratings=0, lists=True)
    now = after_epochs(silence, 1)
    assert [hang.allowed for hang in silent_for(silence, 55, since=now)] == [50]


def test_a_machine_that_slept_accuses_nobody() -> None:
    silence = HeartbeatMonitor(floor=60, ratings=0)
    now = after_epochs(silence, 1)
    assert not silence.check(["a"], now + 36_000)
    assert not silent_for(silence, 60 - CHECKED_AT_LEAST_EVERY, since=now + 36_000)


def test_what_comes_between_epochs_counts_but_a_start_does_not() -> None:
    silence = HeartbeatMonitor(floor=10, ratings=0)
    assert not silent_for(silence, 40)
    silence.beat("a", epoch=1.0)
    assert not silent_for(silence, 9, since=40)
    silence.beat("a", epoch=1.0)
    assert [hang.allowed for hang in silent_for(silence, 185, since=49)] == [TIMES * 9]


def test_who_stops_running_is_forgotten() -> None:
    silence = HeartbeatMonitor(floor=10, ratings=0)
    now = after_epochs(silence, 1)
    silence.check([], now + 1)
    assert not silent_for(silence, 11, since=now + 1)


@given(st.lists(st.floats(0, 5), max_size=60))
def test_off_is_off(steps: list[float]) -> None:
    silence, now = HeartbeatMonitor(floor=0, ratings=0), 0.0
    for step in steps:
        now += step
        assert silence.check(["a"], now) == {}
