"""Fetching by the real rsync, through a played ssh that runs its command on this machine."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from clusters import fetch as fetching
from clusters.cluster_errors import ClusterFailed, SshFailed
from clusters.ssh import Ssh
from clusters.state import Node

pytestmark = pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")


PLAYED_SSH = """#!/bin/bash
while [ $# -gt 0 ]; do case "$1" in
    -l) shift 3; break ;;  # rsync says it this way
    *@*) shift; break ;;
    *) shift ;;
esac; done
cd HOME_THERE; exec sh -c "$*"
"""


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """A node whose home is a folder here; its run lies in breakthrough/code/runs/first."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    home, tools = tmp_path / "node", tmp_path / "tools"
    tools.mkdir()
    ssh = tools / "ssh"
    ssh.write_text(PLAYED_SSH.replace("HOME_THERE", str(home)))
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/local/bin:/usr/bin:/bin")
    run = home / "breakthrough/code/runs/first"
    for name in ("plan.yaml", "results.json", "trials/0001/result.json", "trials/0001/checkpoint/state.pt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    return Ssh("abc", Node("n", "node", 1.0, 0.0, host="127.0.0.1", port=22))


def run_of(tmp_path: Path) -> Path:
    return tmp_path / "node/breakthrough/code/runs/first"


def test_periodic_fetches_leave_checkpoints_out_and_delete_what_is_gone(head: Ssh, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fetching.fetch(head, "first", out, small=True)
    assert (out / "trials/0001/result.json").exists()
    assert not (out / "trials/0001/checkpoint").exists()
    (out / "tracking").mkdir()
    (out / "tracking/sent.json").write_text("written here")
    (out / "cluster_bill.json").write_text("written here")
    shutil.rmtree(run_of(tmp_path) / "trials")
    (run_of(tmp_path) / "results.json").write_text("new")
    assert fetching.fetch(head, "first", out, small=True)
    assert not (out / "trials/0001/result.json").exists()
    assert (out / "results.json").read_text() == "new"
    assert (out / "tracking/sent.json").exists()
    assert (out / "cluster_bill.json").exists()


def test_an_empty_run_there_deletes_nothing_here(head: Ssh, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fetching.fetch(head, "first", out)
    shutil.rmtree(run_of(tmp_path))
    assert not fetching.fetch(head, "first", out)
    run_of(tmp_path).mkdir()
    assert fetching.fetch(head, "first", out)
    assert (out / "results.json").exists()


def test_the_last_fetch_goes_on_after_breaks_and_brings_all_of_it(
    head: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RETRY_SECONDS", 0.01)
    breaks = iter(range(3))
    pull = Ssh.pull

    def broken(self: Ssh, *arguments: object, **more: object) -> None:
        if next(breaks, None) is not None:
            raise SshFailed("the line broke")
        pull(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Ssh, "pull", broken)
    said: list[str] = []
    assert fetching.fetch_last(head, "first", tmp_path / "out", log=said.append, until=time.time() + 60)
    assert (tmp_path / "out/trials/0001/checkpoint/state.pt").exists()
    assert said == [
        "fetching goes on where it broke (the line broke)",
        f"fetched and verified 4 files into {tmp_path / 'out'}",
    ]


def test_without_time_left_a_break_is_final(
    head: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Ssh, *arguments: object, **more: object) -> None:
        raise SshFailed("the line broke")

    monkeypatch.setattr(Ssh, "pull", broken)
    with pytest.raises(ClusterFailed, match="the line broke"):
        fetching.fetch_last(head, "first", tmp_path / "out", log=lambda text: None, until=time.time() - 1)
