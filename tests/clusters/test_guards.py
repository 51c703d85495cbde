"""When the watchdog on this machine ends a cluster, and when it does not."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from clusters import state as states
from clusters.budget_args import teardown_seconds
from clusters.state import ClusterState, Node
from clusters.watchdog import alive, end, fetch_until, margin_seconds, reason_to_end, start_watchdog
from tests.clusters.played.cloud import Fault
from tests.clusters.played.playing import Play, a_spec
from tests.waiting import wait_for

NOW = 1_800_000_000.0
SPEC = a_spec(max_usd=2.0, max_hours=4.0, idle_minutes=10)


def a_state(
    *, age: float, usd_per_hour: float = 1.0, phase: str = "searching", ready: float = 0.0
) -> ClusterState:
    node = Node("p", "n", usd_per_hour, NOW - age)
    notes = {"ready": str(NOW - ready)}
    return ClusterState("abc", "o", {}, NOW - age, nodes=(node,), phase=phase, notes=notes)


def reason(
    state: ClusterState, *, busy: float | None = 0.0, driver_gone: float = 999.0, job_ended: bool = False
) -> str:
    return reason_to_end(
        SPEC, state, now=NOW, busy_age=busy, driver_gone_for=driver_gone, job_ended=job_ended
    )


def test_a_busy_cluster_under_its_caps_is_left_alone() -> None:
    assert reason(a_state(age=3600)) == ""
    assert reason(a_state(age=3600), busy=None) == ""  # not known is not idle
    assert reason(a_state(age=3600), driver_gone=9999) == ""  # the search goes on without its driver


def test_caps_hold_with_a_margin_for_ending() -> None:
    margin = margin_seconds(SPEC)
    assert 0 < margin <= 120
    assert reason(a_state(age=4 * 3600 - margin + 1, usd_per_hour=0.1)) == "max_hours 4"
    assert reason(a_state(age=4 * 3600 - margin - 1, usd_per_hour=0.1)) == ""
    assert reason(a_state(age=2 * 3600 - margin + 1)) == "max_usd $2.00"  # $1 an hour for two hours
    assert reason(a_state(age=2 * 3600 - margin - 10)) == ""


def test_a_living_driver_fetches_until_shortly_before_the_cap() -> None:
    margin = margin_seconds(SPEC, driver_fetches=True)
    assert 0 < margin < teardown_seconds(SPEC) < margin_seconds(SPEC)
    late = 4 * 3600 - margin
    assert reason(a_state(age=late - 1, usd_per_hour=0.1), driver_gone=0) == ""
    assert reason(a_state(age=late + 1, usd_per_hour=0.1), driver_gone=0) == "max_hours 4"
    fetching = a_state(age=3600, ready=3000, phase="fetching")
    assert reason(fetching, busy=9999, driver_gone=0) == ""  # no job, but its files are coming
    assert reason(fetching, busy=9999) == "no job has run for 10 minutes"


def test_an_ended_search_that_nobody_fetches_is_not_billed_until_it_is_idle() -> None:
    said = "its search has ended, and the command that would fetch it is gone"
    assert reason(a_state(age=3600), job_ended=True) == said
    assert reason(a_state(age=3600), job_ended=True, driver_gone=0) == ""  # it fetches by itself
    detached = dataclasses.replace(a_state(age=3600), detached=True)
    assert reason(detached, job_ended=True) == said


def test_the_last_fetch_has_what_money_and_hours_leave_and_half_an_hour_at_most() -> None:
    early, late = a_state(age=60), a_state(age=2 * 3600 - 100)  # $1 an hour, $2 in all
    assert fetch_until(SPEC, early, now=NOW) == NOW + 1800
    assert fetch_until(SPEC, late, now=NOW) == pytest.approx(NOW + 100 - teardown_seconds(SPEC))


def test_idle_counts_from_when_it_was_ready() -> None:
    assert reason(a_state(age=3600, ready=3000), busy=700) == "no job has run for 10 minutes"
    assert reason(a_state(age=3600, ready=3000), busy=float("inf")) == "no job has run for 10 minutes"
    assert reason(a_state(age=3600, ready=60), busy=float("inf")) == ""
    assert reason(a_state(age=3600, ready=3000), busy=500) == ""


def test_a_cluster_whose_renter_died_half_way_is_ended() -> None:
    assert (
        reason(a_state(age=60, phase="renting"), driver_gone=31) == "the command that was renting it is gone"
    )
    assert reason(a_state(age=60, phase="renting"), driver_gone=5) == ""


def test_the_deadline_by_hand() -> None:
    state = a_state(age=3600)  # $1 spent at $1 an hour
    assert state.deadline(max_usd=3.0, max_hours=24, now=NOW) == pytest.approx(NOW + 2 * 3600)
    assert state.deadline(max_usd=99.0, max_hours=4, now=NOW) == pytest.approx(NOW + 3 * 3600)


def test_the_watchdog_ends_pods_and_says_why(play: Play) -> None:
    state = play.rent(a_spec())
    assert end(play.provider, states.load(state.name), "max_usd $1.00")
    assert play.cloud.living() == []
    state = states.load(state.name)
    assert (state.phase, state.notes["ended_by"]) == ("ended", "the watchdog: max_usd $1.00")


def test_the_watchdog_does_not_give_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusters.runpod.teardown.PATIENCE_SECONDS", 0.05)
    state = play.rent(a_spec())
    play.cloud.faults += [
        Fault("POST", "/v2/pods/.*", "status", times=6),
        Fault("DELETE", "/v2/pods/.*", "drop", 6),
    ]
    assert not end(play.provider, states.load(state.name), "max_hours 1")
    assert states.load(state.name).phase != "ended"
    assert end(play.provider, states.load(state.name), "max_hours 1")
    assert play.cloud.living() == []


def test_the_watchdog_is_a_process_that_outlives_its_parent_and_ends_the_pods(play: Play) -> None:
    spec = a_spec(max_hours=0.001)  # 3.6 s
    state = play.state(spec)
    states.update(state.name, created=state.created + 3600)  # they begin when the pod is there
    code = f"from clusters.watchdog import start_watchdog; print(start_watchdog({state.name!r}))"
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    play.provider.rent(spec, states.load(state.name), log=play.said.append)
    assert len(play.cloud.living()) == 1
    states.update(state.name, created=time.time())
    wait_for(lambda: play.cloud.living() == [])
    wait_for(lambda: not alive(int(parent.stdout)))  # and then it is gone itself
    assert states.load(state.name).phase == "ended"
    log = states.folder(state.name) / "watchdog.log"
    assert "ending cluster" in log.read_text()
    assert play.cloud.account_key not in log.read_text()


def test_the_watchdog_of_an_ended_cluster_ends_itself(play: Play) -> None:
    state = play.state(a_spec())
    states.update(state.name, phase="ended")
    pid = start_watchdog(state.name)
    os.waitpid(pid, 0)
    assert not alive(pid)
