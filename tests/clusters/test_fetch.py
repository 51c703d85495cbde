"""Fetching by the real rsync, through a played ssh that runs its command on this machine."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from clusters import fetch as fetching
from clusters import state as states
from clusters.cluster_errors import ClusterFailed, SshFailed
from clusters.local import LocalProvider
from clusters.provider import Bill, Log
from clusters.ssh import Ssh
from clusters.state import Node
from clusters.watchdog import end
from tests.clusters.played.playing import a_spec

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
    assert fetching.fetch(head, "first", out, part="small")
    assert (out / "trials/0001/result.json").exists()
    assert not (out / "trials/0001/checkpoint").exists()
    (out / "tracking").mkdir()
    (out / "tracking/sent.json").write_text("written here")
    (out / "cluster_bill.json").write_text("written here")
    shutil.rmtree(run_of(tmp_path) / "trials")
    (run_of(tmp_path) / "results.json").write_text("new")
    assert fetching.fetch(head, "first", out, part="small")
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


def test_the_release_comes_first_with_what_lies_beside_it(head: Ssh, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (run_of(tmp_path) / "release/users").mkdir(parents=True)
    (run_of(tmp_path) / "release/users/ids.npy").write_text("ids")
    assert fetching.fetch(head, "first", out, part="release")
    result = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert result == ["plan.yaml", "release/users/ids.npy", "results.json"]
    assert fetching.fetch(head, "first", out, part="small")
    assert fetching.fetch(head, "first", out, part="release")
    assert (out / "trials/0001/result.json").exists()  # what is not asked for is left alone


def test_the_watchdog_fetches_on_after_breaks_before_it_ends_the_pods(
    head: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RETRY_SECONDS", 0.01)
    breaks, pull = iter(range(2)), Ssh.pull

    def broken(self: Ssh, *arguments: object, **more: object) -> None:
        if next(breaks, None) is not None:
            raise SshFailed("the line broke")
        pull(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Ssh, "pull", broken)
    made = states.create(a_spec(max_hours=1.0), out=tmp_path / "first")
    node = Node("n", "node", 0.5, time.time(), host="127.0.0.1", port=22)
    state = states.update(made.name, nodes=(node,), phase="searching")

    class Ends(LocalProvider):
        """Notes what had been fetched when it was told to end."""

        fetched = False

        def end(self, state: states.ClusterState, *, log: Log) -> Bill:
            self.fetched = (tmp_path / "first/trials/0001/checkpoint/state.pt").exists()
            return super().end(state, log=log)

    provider = Ends()
    assert end(provider, state, "max_hours 1")
    assert provider.fetched
    assert states.load(made.name).notes["ended_by"] == "the watchdog: max_hours 1"


def test_each_try_of_the_last_fetch_has_no_more_time_than_is_left(
    head: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def noted(self: Ssh, *arguments: object, timeout: float, **more: object) -> None:
        given.append(timeout)

    monkeypatch.setattr(Ssh, "pull", noted)
    with pytest.raises(ClusterFailed, match="differ"):
        fetching.fetch_last(head, "first", tmp_path / "out", log=lambda text: None, until=time.time() + 60)
    assert len(given) == 5  # release, small, three times all
    assert max(given) <= 60
