"""`kind: address`: a driver that joins a plain `ray start --head`, with its token and without."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters.existing_ray import joining_environment
from clusters.spec import AddressSpec
from recsys.release.load import load_release
from tests.clusters.played.stage import ROOT
from tests.waiting import free_port

SPEC = AddressSpec(kind="address", address="head:6379")
SIZE = "synthetic:users=60,items=40,ratings=1100"
SEARCH = ["--data", SIZE, "--trials", "2", "--epochs", "1", "--set", "reference.enabled=false"]
SEARCH += ["--set", "baselines=[]", "--set", "concurrency=1", "--set", "objective=rating"]


@pytest.mark.parametrize("given", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "file"])
def test_a_token_that_is_found_is_sent(tmp_path: Path, given: str) -> None:
    environment = {"HOME": str(tmp_path)}
    if given == "file":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("00")
    else:
        environment[given] = "00"
    assert joining_environment(SPEC, environment)["RAY_AUTH_MODE"] == "token"
    kept = joining_environment(SPEC, environment | {"RAY_AUTH_MODE": "disabled"})
    assert kept["RAY_AUTH_MODE"] == "disabled"  # said by the person


def test_without_a_token_none_is_asked_for(tmp_path: Path) -> None:
    joined = joining_environment(SPEC, {"HOME": str(tmp_path)})
    assert joined == {"HOME": str(tmp_path), "RECSYS_RAY_ADDRESS": "head:6379"}


def environment_of(home: Path) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RECSYS_RAY"))}
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[int]:
    """A head on the loopback, started plainly where a token lies in ~/.ray; its port."""
    environment, port = environment_of(tmp_path / "owner"), free_port()
    (tmp_path / "owner" / ".ray").mkdir()
    (tmp_path / "owner" / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false"]
    command += ["--disable-usage-stats", "--object-store-memory=100000000"]
    command += [f"--ray-client-server-port={free_port()}"]  # Ray's own choice is the same for all heads
    with (tmp_path / "head.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 200
        while "Ray runtime started" not in (tmp_path / "head.log").read_text():
            assert process.poll() is None, (tmp_path / "head.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None


@pytest.mark.system
@pytest.mark.timeout(600)
def test_a_plain_head_is_joined_with_its_token_and_refused_without(head: int, tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(f"kind: address\naddress: 127.0.0.1:{head}\n")

    def search(home: str, out: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "search/breakthrough.py", "--cluster", str(cluster)]
        command += [*SEARCH, "--out", str(tmp_path / out)]
        return subprocess.run(
            command,
            env=environment_of(tmp_path / home),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=400,
        )

    refused = search("stranger", "never")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"no Ray cluster can be joined at 127.0.0.1:{head}" in refused.stderr
    assert "RAY_AUTH_MODE is not set here" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "never").exists()

    done = search("owner", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on the Ray cluster (1 nodes)" in done.stdout
    load_release(tmp_path / "run" / "release")
    assert socket.create_connection(("127.0.0.1", head), timeout=120).close() is None  # it is somebody's
