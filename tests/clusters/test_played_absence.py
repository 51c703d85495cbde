"""The driver is killed or gone: --attach finds the search again; watchdog and the pod's own guard end it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.played.stage import Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.mark.failure(
    "laptop killed, and back", "SIGKILL to the driver, then --attach", seen="fetched and verified"
)
def test_a_killed_laptop_comes_back_and_the_search_was_never_interrupted(stage: Stage) -> None:
    driver = stage.drive("--trials", "12", "--seconds", "2")
    stage.wait_for("search: trial")
    driver.kill()
    driver.wait()
    time.sleep(3)
    assert len(stage.cloud.living()) == 1
    again = stage.drive(words=("--attach",))
    assert again.wait(timeout=500) == 0, stage.said()
    results = stage.results()
    assert not results["resumed"]
    assert len(results["trials"]) == 12
    assert (stage.out / "release" / "manifest.json").exists()
    stage.nothing_is_left()
    assert stage.drive(words=("--attach",)).wait(timeout=30) == 2
    assert "was ended by its own command" in stage.said()


@pytest.mark.failure("laptop killed, nobody back", "SIGKILL to driver and watchdog", seen="")
def test_nobody_comes_back_and_the_pod_saves_the_run_and_ends_itself(stage: Stage) -> None:
    driver = stage.drive(
        "--trials",
        "30",
        "--seconds",
        "4",
        silence_minutes=0.25,
        volume={"id": "vol1"},
        data_centers=["EU-RO-1"],
    )
    stage.wait_for("search: trial")
    (state,) = stage.states()
    os.kill(state["watchdog_pid"], signal.SIGKILL)  # the whole laptop is gone
    driver.kill()
    driver.wait()
    stage.until(lambda: not stage.cloud.living(), "the pod's own end", seconds=240)
    (entry,) = stage.cloud.ledger()
    assert entry["ended_by"] == "itself"
    saved = list(self_saved(stage.volume))
    assert any(path.name == "plan.yaml" for path in saved)
    stage.nothing_is_left()


def self_saved(volume: Path) -> Iterator[Path]:
    return (path for path in volume.rglob("*") if path.is_file())


@pytest.mark.failure("--detach, nobody back", "SIGKILL to the watchdog", seen="detached; to follow it again")
def test_detached_the_pod_finishes_saves_and_ends_itself(stage: Stage) -> None:
    driver = stage.drive(
        "--trials", "3", "--seconds", "1", words=("--detach",), silence_minutes=0.1, idle_minutes=0.2,
        volume={"id": "vol1"}, data_centers=["EU-RO-1"],
    )  # fmt: skip
    assert driver.wait(timeout=240) == 0, stage.said()
    (state,) = stage.states()
    os.kill(state["watchdog_pid"], signal.SIGKILL)
    assert len(stage.cloud.living()) == 1
    stage.until(lambda: not stage.cloud.living(), "the pod's own end", seconds=240)
    assert stage.cloud.ledger()[0]["ended_by"] == "itself"
    saved = {path.name for path in self_saved(stage.volume)}
    assert {"results.json", "manifest.json"} <= saved
    stage.nothing_is_left()


@pytest.mark.failure("driver killed, cap reached", "SIGKILL to the driver, max_hours 0.03", seen="")
def test_the_watchdog_ends_a_cluster_whose_driver_died_at_its_hours(stage: Stage) -> None:
    driver = stage.drive("--trials", "50", "--seconds", "4", max_hours=0.03)  # 108 s
    stage.wait_for("search: trial")
    driver.kill()
    driver.wait()
    stage.until(lambda: not stage.cloud.living(), "the watchdog", seconds=240)
    (entry,) = stage.cloud.ledger()
    assert entry["ended_by"] in ("the account", "itself")  # a slow fetch runs into the pod's own guard
    stage.until(lambda: stage.states()[0]["phase"] == "ended", "the state")
    assert stage.states()[0]["notes"]["ended_by"] == "the watchdog: max_hours 0.03"
    assert (stage.out / "plan.yaml").exists()  # fetched before the end
    stage.nothing_is_left()
