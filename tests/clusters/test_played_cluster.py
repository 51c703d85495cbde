"""Whole clusters on the played cloud: real sshd, real Ray, a namespace a pod; the stand-in for the search.

Every test ends with the same question to the API's ledger: is any pod left?
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.played.stage import TWO, WEBHOOK, Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_two_nodes_from_quote_to_release_and_no_secret_anywhere(stage: Stage, tmp_path: Path) -> None:
    data = tmp_path / "my ratings"
    data.mkdir()
    (data / "ratings.csv").write_text("a\nb\nc\n")
    data = data.rename(tmp_path / "ratings")
    driver = stage.drive("--trials", "8", "--seconds", "3", "--data", str(data), **TWO)
    stage.wait_for("search: trial")
    hold = "/root/breakthrough/hold"
    stage.in_pod(stage.cloud.living()[0], f"touch {hold}")  # until everything was looked at
    secrets = [WEBHOOK, stage.cloud.account_key]
    (cluster,) = (stage.folder / "state" / "breakthrough" / "clusters").iterdir()
    token, key = (cluster / "token").read_text(), (cluster / "key").read_text()
    secrets += [token, key.splitlines()[2]]
    assert all((cluster / name).stat().st_mode & 0o077 == 0 for name in ("key", "token", "state.json"))
    for pod in stage.cloud.living():
        processes = stage.in_pod(pod, "ps -eo args")
        readable = stage.in_pod(
            pod, "find / -xdev -path /proc -prune -o -type f -perm -004 -newer /run/sshd -print"
        )
        shared = "".join(stage.in_pod(pod, f"cat {name} 2>/dev/null") for name in readable.split()[:200])
        logs = stage.in_pod(pod, "cat /tmp/ray/session_*/logs/*.log /root/breakthrough/*.log 2>/dev/null")
        assert "raylet" in processes
        assert "raylet" in logs
        for secret in [*secrets, pod.key]:
            assert secret not in processes
            assert secret not in logs
            assert secret not in shared
    jobs = stage.in_pod(
        stage.cloud.living()[0],
        f"curl -s -H 'Authorization: Bearer {token}' http://127.0.0.1:8265/api/jobs/",
    )
    assert "job.py" in jobs
    unheard = stage.in_pod(
        stage.cloud.living()[0], "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8265/api/jobs/"
    )
    assert unheard == "401"
    here = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    stage.in_pod(stage.cloud.living()[0], f"rm {hold}")
    assert driver.wait(timeout=500) == 0, stage.said()
    fetched = "".join(path.read_text(errors="replace") for path in stage.out.rglob("*") if path.is_file())
    states = "".join(path.read_text() for path in cluster.iterdir())
    for secret in secrets:
        assert secret not in jobs
        assert secret not in here
        assert secret not in stage.said()
        assert secret not in fetched
        assert secret not in states
    assert cluster.stat().st_mode & 0o077 == 0
    assert not (cluster / "key").exists()  # what opens nothing any more is not kept
    private = [path for path in cluster.iterdir() if path.name not in ("key.pub", "known_hosts")]
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)
    results = stage.results()
    assert sorted(row["number"] for row in results["trials"]) == list(range(8))
    assert len({row["node"] for row in results["trials"]}) == 2  # the head is a worker too
    assert results["rows"] == 3
    assert (stage.out / "release" / "manifest.json").exists()
    assert "over the wire, to each of 2 nodes" in stage.said()
    assert "fetched and verified" in stage.said()
    assert "with a webhook" in stage.said()
    stage.nothing_is_left()


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


def test_each_step_by_hand(stage: Stage) -> None:
    cluster = stage.cluster_file()
    assert stage.python("-m", "clusters", "up", str(cluster), "--yes").wait(timeout=300) == 0, stage.said()
    assert "is up; it ends after 15 idle minutes" in stage.said()
    assert stage.python("-m", "clusters", "status").wait(timeout=120) == 0
    assert "ready  1 pod(s)  $0.53/h" in stage.said()
    assert stage.python("-m", "clusters", "logs").wait(timeout=120) == 0
    assert stage.python("-m", "clusters", "sweep", "--yes").wait(timeout=120) == 0
    assert "nothing to end" in stage.said()
    assert len(stage.cloud.living()) == 1
    assert stage.python("-m", "clusters", "down").wait(timeout=120) == 0, stage.said()
    assert "no pod is left; bill: $" in stage.said()
    stage.nothing_is_left()
