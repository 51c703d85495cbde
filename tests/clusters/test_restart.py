"""The command of a container: what it does at its first start and when RunPod starts it again."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from clusters.runpod.lifecycle import dead_mans_switch, pod_deadline
from tests.clusters.played.playing import Play, a_spec
from tests.waiting import wait_for

GUARD = "import pathlib, time; pathlib.Path({trace!r}).touch(); time.sleep(300)"


def start(folder: Path, *, deadline: float) -> subprocess.Popen[bytes]:
    """The container's command with a played `curl` and a start script that waits for calls."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "curl").write_text(f'#!/bin/sh\necho "$@" >> {folder}/curl\n')
    (tools / "start").write_text("#!/bin/sh\nexec sleep 300\n")
    for tool in ("curl", "start"):
        (tools / tool).chmod(0o755)
    spec = a_spec(image_start=f"{tools}/start")
    base = str(folder / "breakthrough")
    words = dead_mans_switch(spec, "https://api.example", deadline=deadline, base=base, check_seconds=0.05)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "RUNPOD_API_KEY": "k", "RUNPOD_POD_ID": "p1"}
    return subprocess.Popen(["bash", "-c", words], env=environment, start_new_session=True)


def written(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def container(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (tmp_path / "breakthrough").mkdir()
    return tmp_path


def end(child: subprocess.Popen[bytes]) -> None:
    import os
    import signal

    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def test_at_its_deadline_a_container_without_a_guard_ends_its_pod(container: Path) -> None:
    (container / "breakthrough" / "guarded").touch()  # a guard had come, and went with the restart
    child = start(container, deadline=time.time() - 5)
    try:
        wait_for(lambda: "\n" in written(container / "curl"))
    finally:
        end(child)
    assert "-X DELETE" in (container / "curl").read_text()
    assert "https://api.example/v2/pods/p1" in (container / "curl").read_text()


def test_the_deadline_in_the_guards_settings_holds_over_the_first_one(container: Path) -> None:
    """Nothing waits beyond it, a guard that is alive neither."""
    base = container / "breakthrough"
    (base / "guard.json").write_text(f'{{"role": "head", "deadline": {time.time() - 1:.3f}, "end": {{}}}}')
    (base / "guard.pid").write_text("1")
    (base / "guarded").touch()
    child = start(container, deadline=time.time() + 3600)
    try:
        wait_for(lambda: "\n" in written(container / "curl"))
    finally:
        end(child)
    assert "https://api.example/v2/pods/p1" in (container / "curl").read_text()


def test_a_restarted_container_starts_its_guard_again(container: Path) -> None:
    base = container / "breakthrough"
    (base / "code/clusters/bootstrap").mkdir(parents=True)
    trace = container / "guard-was-started"
    (base / "code/clusters/bootstrap/guard.py").write_text(GUARD.format(trace=str(trace)))
    (base / "guard.json").write_text("{}")
    (base / "guard.pid").write_text("999999")  # of before the restart
    (base / "guarded").touch()
    child = start(container, deadline=time.time() + 3600)
    try:
        wait_for(trace.exists)
    finally:
        end(child)
    assert not (container / "curl").exists()


def test_the_deadline_in_the_command_is_the_tighter_of_hours_and_dollars(play: Play) -> None:
    spec = a_spec(max_usd=1.0, max_hours=4.0)
    state = play.state(spec)
    (offer, _) = play.provider.quote(spec).usable
    now = state.created
    by_money = 1.0 / offer.usd_per_hour * 3600
    assert pod_deadline(spec, state, offer, now=now) == pytest.approx(now + by_money)
    rich = a_spec(max_usd=50.0, max_hours=4.0)
    assert pod_deadline(rich, state, offer, now=now + 600) == pytest.approx(now + 4 * 3600)
    play.rent(spec)
    (pod,) = play.cloud.living()
    assert f"D={int(play.cloud.pods[pod.id].created + by_money)}"[:8] in pod.request.args
