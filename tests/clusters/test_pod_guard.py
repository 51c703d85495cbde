"""When the guard inside a pod ends it, and that the run is saved before."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clusters.bootstrap import guard as inside
from clusters.bootstrap.save import in_order
from clusters.budget_args import saving_seconds, with_limits
from clusters.cluster_info import ClusterInfo
from recsys.io import write_atomic
from tests.clusters.played.cloud import Fault
from tests.clusters.played.playing import Play, a_spec
from tests.waiting import wait_for

NOW = 1_800_000_000.0


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(inside, "BASE", tmp_path)
    return tmp_path


def settings(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "role": "head",
        "deadline": NOW + 3600,
        "silence_seconds": 600.0,
        "idle_seconds": 900.0,
    }
    return {**usual, "detached": False, "save_to": "", **changes}


def touch(path: Path, age: float) -> None:
    path.touch()
    os.utime(path, (NOW - age, NOW - age))


def inside_reason(pod_settings: dict[str, Any], *, started: float = 7200, head_seen: float = 0) -> str:
    return inside.reason_to_end(pod_settings, now=NOW, started=NOW - started, head_seen=NOW - head_seen)


def test_inside_a_pod_the_deadline_holds_always(pod: Path) -> None:
    touch(pod / "heartbeat", 0)
    touch(pod / "busy", 0)
    for changes in ({}, {"detached": True}, {"role": "worker"}):
        assert "deadline has come" in inside_reason(settings(deadline=NOW - 1, **changes))
        assert inside_reason(settings(**changes)) == ""


@pytest.mark.parametrize(("step", "seen"), [(-3600.0, 60.0), (86_400.0, 86_460.0)])
def test_a_clock_that_is_set_back_does_not_prolong_a_rental(step: float, seen: float) -> None:
    wall, monotonic = [NOW], [5.0]
    clock = inside.latest_clock(lambda: wall[0], lambda: monotonic[0])
    monotonic[0] += 60
    wall[0] += 60 + step
    assert clock() == NOW + seen


def test_inside_a_pod_ending_and_saving_begin_before_the_deadline(pod: Path) -> None:
    touch(pod / "heartbeat", 0)
    touch(pod / "busy", 0)
    near = settings(deadline=NOW + 10, end_seconds=10.0, save_seconds=600.0)
    assert inside.last_moment(near) == NOW
    assert "deadline has come" in inside_reason(near)
    far = settings(deadline=NOW + 611, end_seconds=10.0, save_seconds=600.0)
    assert inside_reason(far) == ""
    assert not inside.must_save(far, now=NOW)
    assert inside.must_save(far, now=NOW + 1)
    assert not inside.must_save(settings(deadline=NOW + 1, save_seconds=0.0), now=NOW)
    assert [inside.seconds_to_next_check(far, now=NOW + at) for at in (-60, -4, 0, 595, 700)] == [
        10,
        5,
        1,
        6,
        10,
    ]


def test_the_search_ends_before_its_pod_begins_to_save() -> None:
    kept = a_spec(max_hours=6.0, store="s3://bucket/runs")
    assert (saving_seconds(kept), saving_seconds(a_spec(max_hours=6.0))) == (600.0, 0.0)
    info = ClusterInfo("runpod", "abc", "g", 1, 1, 1, 2048, 1.0, 0.0, NOW, NOW + 3600, 9.0, 6.0)
    words = with_limits([], info, before_seconds=0.0, user_arguments=[], reserved_seconds=600.0)
    assert words[words.index("--max-hours") + 1] == f"{3000 / 3600:.4f}"


def test_inside_a_pod_silence_ends_it_unless_it_was_meant(pod: Path) -> None:
    touch(pod / "heartbeat", 601)
    touch(pod / "busy", 0)
    assert "nobody has been heard from" in inside_reason(settings())
    assert inside_reason(settings(), started=300) == ""  # not older than its own patience
    assert inside_reason(settings(detached=True)) == ""


def test_inside_a_pod_idleness_ends_it(pod: Path) -> None:
    touch(pod / "heartbeat", 901)
    touch(pod / "busy", 901)
    assert "no job has run for 900 s" in inside_reason(settings(detached=True))
    touch(pod / "heartbeat", 10)  # somebody is at work on it by hand
    assert inside_reason(settings(detached=True)) == ""


def test_a_worker_ends_when_its_head_is_out_of_reach(pod: Path) -> None:
    assert "head has been out of reach" in inside_reason(settings(role="worker"), head_seen=601)
    assert inside_reason(settings(role="worker"), head_seen=599) == ""


@pytest.fixture
def run(pod: Path) -> Path:
    """A run folder in a pod, with the Python and secrets that saving it needs."""
    folder = pod / "code" / "runs" / "first"
    for name in ("trials/0001/checkpoint/a", "trials/0001/result.json", "release/manifest.json", "plan.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (pod / "secrets.json").write_text(json.dumps({}))
    (pod / "python").write_text(sys.executable)
    return folder


def test_a_run_is_saved_before_the_end(run: Path, tmp_path: Path) -> None:
    inside.save_run(settings(save_to=str(tmp_path / "volume" / "abc")), now=NOW)
    assert (tmp_path / "volume" / "abc" / "first" / "plan.yaml").read_text() == "plan.yaml"
    inside.save_run(settings(save_to=f"file://{tmp_path}/store/abc"), now=NOW)  # any fsspec URL
    saved = tmp_path / "store" / "abc" / "first"
    assert (saved / "trials/0001/checkpoint/a").read_text() == "trials/0001/checkpoint/a"
    inside.save_run(settings(role="worker", save_to=str(tmp_path / "never")), now=NOW)
    assert not (tmp_path / "never").exists()


def test_the_release_is_saved_first_and_checkpoints_last(run: Path) -> None:
    names = [str(name.relative_to("first")) for name in in_order(run.parent)]
    assert names == [
        "plan.yaml",
        "release/manifest.json",
        "trials/0001/result.json",
        "trials/0001/checkpoint/a",
    ]


def test_saving_is_cut_short_at_the_last_moment(
    run: Path, pod: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pod / "python").write_text(str(pod / "slow"))
    (pod / "slow").write_text("#!/bin/sh\nexec sleep 60\n")
    (pod / "slow").chmod(0o755)
    began = time.monotonic()
    near = settings(deadline=NOW + 1, end_seconds=0.9, save_to=f"file://{tmp_path}/store")
    inside.save_run(near, now=NOW)
    assert time.monotonic() - began < 50
    assert "timed out after 0." in capsys.readouterr().out
    inside.save_run(near, now=NOW + 1)
    assert "no time is left" in capsys.readouterr().out


def test_trouble_with_saving_does_not_stop_the_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside.save_run(settings(save_to="nosuch://store"), now=NOW)
    assert "the run could not be saved: ValueError: Protocol not known: nosuch\n" in capsys.readouterr().out


def test_a_guard_saves_before_its_deadline_and_ends_its_pod_at_it(play: Play, tmp_path: Path) -> None:
    rented = play.cloud.pods[play.rent(a_spec()).head.id]
    base = tmp_path / "breakthrough"
    (base / "code/runs/first").mkdir(parents=True)
    (base / "code/runs/first/plan.yaml").write_text("plan")
    (base / "heartbeat").touch()
    guard = settings(
        deadline=time.time() + 3600,
        save_seconds=3600.0,  # saving begins at once
        check_seconds=0.05,
        save_to=str(tmp_path / "kept"),
        end=dataclasses.asdict(play.provider.self_termination()),
    )
    write_atomic(base / "guard.json", json.dumps(guard).encode())
    environment = os.environ | {"HOME": str(tmp_path), "RUNPOD_API_KEY": rented.key}
    environment["RUNPOD_POD_ID"] = rented.id
    log = tmp_path / "guard.log"
    with log.open("w") as file:
        child = subprocess.Popen([sys.executable, inside.__file__], env=environment, stdout=file)
    try:
        wait_for(lambda: "saved 1 files" in log.read_text())
        assert rented.ended is None
        write_atomic(base / "guard.json", json.dumps(guard | {"deadline": time.time()}).encode())
        wait_for(lambda: rented.ended is not None)
    finally:
        child.kill()
        child.wait()
    said = log.read_text()
    assert (tmp_path / "kept/first/plan.yaml").read_text() == "plan"
    assert rented.ended_by == "itself"
    assert said.index("saving the run") < said.index("saved 1 files") < said.index("ending this pod")


def test_the_guard_ends_its_pod_by_the_pods_own_key(
    play: Play, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = play.rent(a_spec())
    rented = play.cloud.pods[state.head.id]
    monkeypatch.setenv("RUNPOD_API_KEY", rented.key)
    monkeypatch.setenv("RUNPOD_POD_ID", rented.id)
    play.cloud.faults.append(Fault("POST", "/v2/pods/.*/action", "status", status=405))

    class Over(Exception):
        """The machine is gone: nothing after this runs."""

    def no_more(seconds: float) -> None:
        raise Over

    monkeypatch.setattr(time, "sleep", no_more)
    with pytest.raises(Over):
        inside.end_pod(settings(end=dataclasses.asdict(play.provider.self_termination())))
    assert rented.ended_by == "itself"
