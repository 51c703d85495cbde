"""Whole clusters on the played cloud: real sshd, real Ray, a namespace a pod; the stand-in for the search.

Every test ends with the same question to the API's ledger: is any pod left?
"""

from __future__ import annotations

import subprocess
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
