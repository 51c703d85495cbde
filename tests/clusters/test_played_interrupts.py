"""Ctrl-C and SIGTERM while a cluster comes up and searches: results are fetched, no pod is left."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.clusters.played.stage import Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.mark.failure("Ctrl-C once, and twice", "SIGINT in the search", seen="Ctrl-C: no new trials")
def test_ctrl_c_once_ends_early_with_a_release_and_twice_stops_now(stage: Stage) -> None:
    driver = stage.drive("--trials", "50", "--seconds", "2")
    stage.wait_for("search: trial")
    os.kill(driver.pid, signal.SIGINT)
    stage.wait_for("Ctrl-C: no new trials")
    assert driver.wait(timeout=240) == 0, stage.said()
    assert 0 < len(stage.results()["trials"]) < 50
    assert (stage.out / "release" / "manifest.json").exists()
    stage.nothing_is_left()
    stage.out = stage.folder / "runs" / "second"
    driver = stage.drive("--trials", "50", "--seconds", "20")
    stage.until(lambda: stage.said().count("search: 1 nodes") == 2, "the second search")
    time.sleep(2)
    os.kill(driver.pid, signal.SIGINT)
    stage.until(lambda: stage.said().count("Ctrl-C: no new trials") == 2, "the first Ctrl-C")
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=240) == 130, stage.said()
    assert (stage.out / "plan.yaml").exists()
    assert "the same command with --resume" in stage.said()
    stage.nothing_is_left()


@pytest.mark.failure("{name} at: {moment}", "{name}", seen="interrupted while coming up")
@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("rented breakthrough", "SIGTERM"),
        ("PROVISIONING", "SIGINT"),
        ("answers SSH", "SIGTERM"),
        ("guard started", "SIGINT"),
        ("Ray is up", "SIGINT"),
    ],
)
def test_a_signal_while_coming_up_leaves_nothing(stage: Stage, moment: str, name: str) -> None:
    driver = stage.drive("--trials", "50", "--seconds", "2")
    stage.wait_for(moment)
    os.kill(driver.pid, signal.Signals[name])
    assert driver.wait(timeout=240) == 130, stage.said()
    stage.nothing_is_left()


@pytest.mark.failure("SIGTERM in the search", "SIGTERM to the driver", seen="the same command with --resume")
def test_a_driver_ended_by_sigterm_fetches_and_leaves_no_pod(stage: Stage) -> None:
    driver = stage.drive("--trials", "50", "--seconds", "2")
    stage.wait_for("search: trial")
    os.kill(driver.pid, signal.SIGTERM)
    assert driver.wait(timeout=240) == 130, stage.said()
    assert (stage.out / "plan.yaml").exists()
    stage.nothing_is_left()
