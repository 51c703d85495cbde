"""Controllers as real processes on one store: killed in mid-roll-out, two at once; SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from serving.domain import ArmSpec, ExperimentState
from serving.events.store import EventStore
from serving.rollout.controller import SETTLED_SECONDS, RolloutController
from serving.rollout.policy import RolloutPlan
from serving.rollout.rollout_status import ACTOR, KIND, rollout_status, shares_of, start_rollout
from tests.serving.postgres import postgres

pytestmark = pytest.mark.slow

PLAN = RolloutPlan("home", "old", "new", "runs/new", hold_seconds=0.3, minimum_exposures=0)
STEPS = [("raise", 0.01), ("raise", 0.05), ("raise", 0.25), ("raise", 0.5), ("raise", 1.0), ("done", 1.0)]


def begun(url: str) -> EventStore:
    store = EventStore(url)
    store.create_tables()
    state = ExperimentState("home", 0, "salt", (ArmSpec("old", "runs/old", 1.0),))
    store.save_experiment(state, expected=0, actor="test")
    start_rollout(store, PLAN, now=time.time())
    return store


def controller(url: str, *share: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.serving.ops.controlling", url, *share]
    made = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    assert made.stdout.readline() == "ready\n"
    return made


def steps(store: EventStore) -> list[tuple[str, float]]:
    rows = [row.data for row in store.journal(kind=KIND) if row.data["event"] != "started"]
    return [(row["event"], row["to"]) for row in rows]


def final(store: EventStore) -> tuple[str, dict[str, float]]:
    state = store.experiment("home")
    assert state is not None
    return state.owner, {arm.name: arm.share for arm in state.arms}


def rest_of(process: subprocess.Popen[str]) -> list[str]:
    """What it says after "ready": also what came with that line, which ``communicate`` would leave behind."""
    assert process.stdout is not None
    return process.stdout.read().splitlines()


def two_at_once(url: str) -> None:
    store = begun(url)
    pair = [controller(url) for _ in range(2)]
    messages = [rest_of(process) for process in pair]
    assert [process.wait(120) for process in pair] == [0, 0]
    assert steps(store) == STEPS
    assert sum(map(len, messages)) == len(STEPS)
    assert final(store) == ("manual", {"old": 0.0, "new": 1.0})
    # One revision a step: none was made and taken back.
    assert [state.revision for state in store.experiment_history("home")] == list(range(8, 0, -1))
    store.close()


def test_a_controller_killed_in_mid_rollout_is_carried_on_by_the_next(tmp_path: Path) -> None:
    url = str(tmp_path / "events.db")
    store = begun(url)
    for reached in (0.01, 0.25):
        assert controller(url, str(reached)).wait(120) == -9
        assert final(store)[1]["new"] == reached
        assert rollout_status(store, "home") is not None
    assert controller(url).communicate(timeout=120) is not None
    shares = [share for _, share in steps(store)]
    assert shares == sorted(shares)
    assert final(store) == ("manual", {"old": 0.0, "new": 1.0})
    assert [state.revision for state in store.experiment_history("home")] == list(range(8, 0, -1))
    store.close()


def test_two_controllers_at_once_make_each_step_once(tmp_path: Path) -> None:
    two_at_once(str(tmp_path / "events.db"))


@pytest.mark.system
def test_two_controllers_at_once_on_postgresql() -> None:
    with postgres() as server:
        two_at_once(server.url)


def test_a_step_that_was_stored_but_not_told_is_told_by_the_next_controller(tmp_path: Path) -> None:
    """As a kill between the two leaves it."""
    store = begun(str(tmp_path / "events.db"))
    now = rollout_status(store, "home")
    assert now is not None
    raised = replace(now.state, arms=shares_of(now.state, PLAN, 0.01))
    at = time.time()
    store.save_experiment(raised, expected=now.state.revision, actor=ACTOR, reason="held", at=at)
    messages: list[str] = []
    young = RolloutController(store, "home", notify=messages.append, clock=lambda: at + 0.1)
    young.tick()
    assert messages == []  # whoever made the step may be about to tell it
    RolloutController(store, "home", notify=messages.append, clock=lambda: at + SETTLED_SECONDS).tick()
    assert "raise new 0% -> 1%" in messages[0]
    assert "recorded late" in messages[0]
    assert steps(store)[:2] == STEPS[:2]
    store.close()


def test_two_starts_at_once_leave_the_plan_of_the_one_that_was_stored(tmp_path: Path) -> None:
    store = begun(str(tmp_path / "events.db"))
    other = replace(PLAN, candidate="other", release="runs/other")
    # What a second start writes before it loses the compare-and-set.
    store.append(KIND, "home", {"event": "started", "token": "ffffffff", "plan": other.__dict__})
    result = rollout_status(store, "home")
    assert result is not None
    assert result.plan == PLAN
    store.close()


def test_a_clock_that_goes_back_raises_nothing(tmp_path: Path) -> None:
    store = begun(str(tmp_path / "events.db"))
    messages: list[str] = []
    controller = RolloutController(store, "home", notify=messages.append, clock=lambda: time.time() - 3600)
    assert controller.tick() is not None
    assert messages == []
    assert final(store)[1] == {"old": 1.0, "new": 0.0}
    store.close()


def test_lost_events_hold_a_rollout_and_do_not_keep_it_from_going_back(tmp_path: Path) -> None:
    store = begun(str(tmp_path / "events.db"))
    later = time.time() + 60
    store.append("gap", "exposures", {"since": later - 5, "lost": 3}, at=later - 1)
    decision = RolloutController(store, "home", notify=print, clock=lambda: later).tick()
    assert decision is not None
    assert "3 events are missing" in decision.reason
    assert final(store)[1]["new"] == 0.0
    store.close()
