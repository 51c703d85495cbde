"""The wall clock is set an hour back or a day ahead while everything runs, as by NTP or a resumed machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from limits import parse

from recsys import steady_clock
from serving.api.rate_limit import RateLimiter
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.elapsed_time import PhaseTimer
from serving.events.audit import lost_events
from serving.events.repeated_erasure import repeat_erasures
from serving.events.retention import DAY, backup, erase, export, restore, retain
from serving.events.store import EventStore
from serving.experiments.aggregates import Aggregates
from serving.experiments.event_reader import EventReader
from serving.identifiers import exposure_time, new_exposure_id
from serving.loop.loop_lease import LEASE_SECONDS, WATCH_SECONDS, LoopLease
from serving.rollout.controller import RolloutController
from serving.rollout.policy import RolloutStep
from serving.rollout.rollout_status import rollout_status, start_rollout
from tests.serving.ops.test_rollout import PLAN, traffic
from tests.serving.running import Running, running

STEPS = (-3600.0, 86_400.0)
NOW = 1_800_000_000.0


class MadeClock:
    """A wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.wall, self.passed = NOW, 0.0

    def pass_seconds(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    made = EventStore(str(tmp_path / "events.db"))
    made.create_tables()
    state = ExperimentState("home", 0, "salt", (ArmSpec("old", "runs/old", 1.0),))
    made.save_experiment(state, expected=0, actor="test", at=NOW - 100)
    return made


@pytest.mark.parametrize("step", STEPS)
def test_a_phase_lasts_as_long_as_it_lasts(step: float) -> None:
    clock = MadeClock()
    timer = PhaseTimer(lambda: clock.passed)

    def age(phase: int, since: float) -> float:
        return timer.seconds(phase, since=since, now=clock.wall)

    assert age(1, NOW) == 0
    clock.pass_seconds(20)
    clock.wall += step
    assert age(1, NOW) == 20
    began = clock.wall
    assert age(2, began) == 0  # the next one, stored by the clock of now
    clock.wall -= step
    clock.pass_seconds(5)
    assert age(2, began) == 5
    restarted = PhaseTimer(lambda: clock.passed)
    assert restarted.seconds(2, since=clock.wall - 7, now=clock.wall) == 7
    assert PhaseTimer(lambda: clock.passed).seconds(2, since=clock.wall + 900, now=clock.wall) == 0


@pytest.mark.parametrize("step", STEPS)
def test_a_stage_of_a_rollout_holds_its_time_and_its_guardrails_see_on(
    store: EventStore, step: float
) -> None:
    clock = MadeClock()
    plan = replace(PLAN, stages=(0.0, 0.25, 0.4, 0.5, 1.0), minimum_exposures=20)
    start_rollout(store, plan, now=clock.wall)
    controller = RolloutController(
        store, "home", notify=lambda _: None, clock=lambda: clock.wall, monotonic=lambda: clock.passed
    )
    share = []
    for _ in range(3):  # of stages, which hold 60 s
        for part in range(6):
            if part == 2:
                clock.wall += step
            traffic(store, clock.wall, seconds=10, rate=20)
            clock.pass_seconds(10)
            decision = controller.tick()
            assert decision is not None
            assert (decision.step is RolloutStep.RAISE) == (part == 5), (part, decision)
        share.append(decision.share)
    assert share == [0.25, 0.4, 0.5]
    clock.wall += step
    traffic(store, clock.wall, seconds=30, rate=100, ms=400.0)  # slow answers after the step
    clock.pass_seconds(30)
    decision = controller.tick()
    assert decision is not None
    assert decision.step is RolloutStep.BACK, decision
    assert rollout_status(store, "home") is None


def test_events_of_a_revision_are_known_by_it_and_not_by_their_time(store: EventStore) -> None:
    before = Exposure("x0", NOW - 9, "u0", "home", "old", 1, "r", ("1",), (4.0,), "personal", 3.0)
    state = store.experiment("home")
    assert state is not None
    store.append("gap", "exposures", {"lost": 2}, at=NOW - 60)
    store.save_experiment(state, expected=1, actor="test", at=NOW)
    back = NOW - 3600
    shown = replace(before, exposure_id="x1", user_id="u1", revision=2, at=back)
    clicks = [Feedback(f"f{n}", f"x{n}", f"u{n}", "rating", "1", 5.0, back + 5, 4.0) for n in range(2)]
    store.add(exposures=[before, shown], feedback=clicks)
    store.append("gap", "exposures", {"lost": 3}, at=back)
    reader = EventReader(store, "home", Aggregates(frozenset({"old"}), 60.0), since=NOW, revision=2)
    arm = reader.catch_up(back + 10).by_arm["old"]
    assert (arm.exposures, arm.conversions) == (1, 1)
    assert lost_events(store, "home", revision=2) == 3
    assert lost_events(store, "home", revision=1) == 5


def set_clock(monkeypatch: pytest.MonkeyPatch, offset: list[float]) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + offset[0]) * 1e9))


@pytest.mark.parametrize("step", STEPS)
def test_the_last_rating_counts_here_after_a_restart_and_elsewhere(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    offset = [0.0]
    set_clock(monkeypatch, offset)

    def stars(made: Running) -> dict[str, float]:
        return made.service.recent_ratings.of("newcomer")

    with running(tmp_path, {"a": releases["a"]}) as made:
        made.rate("newcomer", "i1", 5.0, "e1")
        shown = made.list("newcomer")
        offset[0] += step
        made.rate("newcomer", "i1", 1.0, "e2", exposure_id=shown["exposure_id"])
        offset[0] = 0.0  # and set right again
        made.rate("newcomer", "i1", 2.0, "e3")
        made.rate("newcomer", "i1", 3.0, "e4", at=time.time())
        assert stars(made) == {"i1": 3.0}
        events = {event.event_id: event for event in made.service.store.feedback()}
        assert events["e2"].at >= (exposure_time(shown["exposure_id"]) or 0)
        assert [event.event_id for event in sorted(events.values(), key=lambda event: event.at)] == [*events]
    with running(tmp_path, {"a": releases["a"]}) as again:
        assert stars(again) == {"i1": 3.0}


def test_an_exposure_id_tells_its_time() -> None:
    made = exposure_time(new_exposure_id())
    assert made is not None
    assert abs(made - time.time()) < 60
    assert [exposure_time(text) for text in (None, "x", "z" * 32)] == [None, None, None]


def test_retention_deletes_nothing_early_and_an_idle_store_catches_up(store: EventStore) -> None:
    for day in range(3):
        event = Feedback(f"e{day}", None, "ann", "click", "1", None, NOW - day * DAY)
        store.add(feedback=[event])
    assert retain(store, days=30, now=NOW + 10 * 365 * DAY)["feedback"] == 0
    # Counted to a day after the newest row, which is the last call's own entry.
    assert [retain(store, days=2.5, now=NOW + 40 * DAY)["feedback"] for _ in range(3)] == [2, 1, 0]


def test_an_erasure_by_a_clock_that_was_set_back_covers_what_was_there(
    store: EventStore, tmp_path: Path
) -> None:
    store.add(feedback=[Feedback("e1", None, "ann", "click", "1", None, NOW)])
    backup(store, tmp_path / "copy.db")
    erase(store, "ann", now=NOW - 3600)
    restore(store, tmp_path / "copy.db")
    again = EventStore(store.url)
    assert list(export(again, "ann")) == []
    assert repeat_erasures(again) == {}


@pytest.mark.parametrize("step", STEPS)
def test_a_lease_is_neither_taken_from_the_living_nor_held_by_the_dead(tmp_path: Path, step: float) -> None:
    path = tmp_path / "lease.json"
    slept = []

    def lease(expires: float) -> None:
        path.write_text(json.dumps({"host": "there", "pid": 1, "expires": expires}))

    def enter(sleep: Callable[[float], None]) -> None:
        with LoopLease(tmp_path, clock=lambda: NOW + step, host="here", sleep=sleep):
            slept.append(json.loads(path.read_text())["host"])

    lease(NOW + LEASE_SECONDS)  # renewed a moment ago by the other host's clock
    with pytest.raises(Exception, match="a controller on there has this loop"):
        enter(lambda seconds: lease(NOW + LEASE_SECONDS + seconds))
    enter(lambda seconds: slept.append(str(seconds)))  # nobody renews it any more
    assert slept == [str(WATCH_SECONDS), "here"]


@pytest.mark.parametrize("step", STEPS)
def test_a_rate_limit_neither_blocks_longer_nor_forgets_to_block(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    wall = [NOW]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    limiter = RateLimiter(parse("5/minute"))
    for _ in range(2):
        waits = [limiter.retry_after(b"key", "") for _ in range(8)]
        assert waits[:5] == [None] * 5
        assert all(wait is not None and 0 < wait <= 120 for wait in waits[5:]), waits
        wall[0] += step


def test_a_budget_is_measured_without_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    before = steady_clock.steady_time()
    monkeypatch.setattr(time, "time", lambda: NOW + DAY)
    assert 0 <= steady_clock.steady_time() - before < 600
