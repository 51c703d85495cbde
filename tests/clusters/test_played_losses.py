"""A worker, the head or the connection is lost in mid-search: the search goes on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.clusters.played.stage import TWO, Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.mark.failure(
    "a worker pod dies in mid-search", "its machine vanishes", seen="has died; its trials continue elsewhere"
)
def test_a_worker_dies_and_its_trials_go_on_from_their_checkpoints(stage: Stage) -> None:
    driver = stage.drive("--trials", "4", "--seconds", "12", **TWO)
    stage.wait_for("search: 2 nodes")
    head, worker = stage.cloud.living()
    lost = stage.machines.spaces[worker.id]

    def worker_is_half_way() -> bool:
        """What the worker has counted so far is on the head too."""
        text = stage.in_pod(
            head, "cat /root/breakthrough/code/runs/played/trials/*/checkpoint.json 2>/dev/null"
        )
        counts = re.findall(r'"done": ([\d.]+), "node": "([^"]+)"', text)
        return any(node == lost and 2 < float(done) < 10 for done, node in counts)

    stage.until(worker_is_half_way, "a worker's checkpoint on the head")
    stage.cloud.die(worker, vanish=True)
    assert driver.wait(timeout=300) == 0, stage.said()
    trials = stage.results()["trials"]
    assert sorted(row["number"] for row in trials) == [0, 1, 2, 3]
    assert max(row["continued_from"] for row in trials) > 2
    stage.nothing_is_left()


@pytest.mark.failure("the head dies", "its machine is off, EXITED", seen="lost its head")
def test_the_head_dies_and_the_search_goes_on_on_a_new_cluster(stage: Stage) -> None:
    driver = stage.drive("--trials", "6", "--seconds", "4")
    stage.until(lambda: len(list(stage.out.glob("trials/*/result.json"))) >= 1, "a fetched result")
    stage.cloud.die(stage.cloud.living()[0])
    assert driver.wait(timeout=500) == 0, stage.said()
    assert "lost its head: the head's pod is EXITED" in stage.said()
    assert "going on on a new cluster from the fetched state" in stage.said()
    results = stage.results()
    assert results["resumed"]
    assert sorted(row["number"] for row in results["trials"]) == list(range(6))
    assert len({row["node"] for row in results["trials"]}) == 2  # one on each head
    assert len(stage.cloud.pods) == 2
    stage.nothing_is_left()


@pytest.mark.failure("SSH drops", "link down, then up", seen="SSH to the head dropped")
def test_ssh_drops_and_the_search_does_not_notice(stage: Stage) -> None:
    driver = stage.drive("--trials", "6", "--seconds", "3")
    stage.wait_for("search: trial")
    (pod,) = stage.cloud.living()
    space = stage.machines.spaces[pod.id]
    inside = next(iter(Path("/sys/class/net").glob(f"{stage.machines.tag}o*"))).name
    subprocess.run(["ip", "link", "set", inside, "down"], check=True)
    stage.wait_for("SSH to the head dropped", seconds=240)
    subprocess.run(["ip", "link", "set", inside, "up"], check=True)
    assert driver.wait(timeout=500) == 0, stage.said()
    assert "SSH to the head is back" in stage.said()
    assert space
    assert not stage.results()["resumed"]
    stage.nothing_is_left()
