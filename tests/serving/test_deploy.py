"""``serving deploy`` on a Ray cluster that is already there, started as its users start one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from tests.serving.sockets import listening, tree
from tests.waiting import free_port

pytestmark = pytest.mark.system
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120


@pytest.fixture
def cluster() -> Iterator[str]:
    """Its address. Everything that names its folder on the command line ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: sockets lie in it
    port = free_port()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}"]
    command += ["--include-dashboard=false", "--num-cpus=6", f"--temp-dir={folder}"]
    command += ["--object-store-memory=100000000"]
    command += [f"--ray-client-server-port={free_port()}"]  # Ray's own choice is the same for all heads
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        result = re.search(rf"--address='([0-9.]+:{port})'", done.stdout)
        assert result is not None, done.stdout
        yield result[1]
    finally:
        for process in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if str(folder).encode() in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def test_it_brings_the_replicas_up(cluster: str, releases: dict[str, Path], tmp_path: Path) -> None:
    port = free_port()
    arms = [{"name": "champion", "release": str(releases["a"]), "share": 1.0}]
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "replicas": 2,
        "events": str(tmp_path / "events.db"),
        "experiment": {"name": "main", "salt": "main", "arms": arms},
    }
    application = {"name": "recommendations", "import_path": "serving.app:build", "args": settings}
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump({"proxy_location": "Disabled", "applications": [application]}))
    command = [sys.executable, "-m", "serving", "deploy", str(config), "--address", cluster]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"2 replicas listen on port {port}" in done.stdout
    answer = httpx.get(f"http://127.0.0.1:{port}/v1/users/u1/recommendations?count=3", timeout=120)
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 3
    everybody = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    assert len(listening(everybody)[("127.0.0.1", port)]) == 2
    # A worker of a cluster that others joined has one port of Ray's own on all interfaces. Serve's port for
    # other deployments would be a second one in each replica.
    node = cluster.partition(":")[0]
    positions = listening(set().union(*map(tree, raylets(cluster))))
    for replica in positions["127.0.0.1", port]:
        wide = {
            index
            for index, processes in positions.items()
            if replica in processes and index[0] not in ("127.0.0.1", "::1", node)
        }
        assert len(wide) <= 1


def raylets(cluster: str) -> list[int]:
    """The processes that start the workers of the cluster at that address."""
    result = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes()
            if b"raylet/raylet" in words and f"--gcs-address={cluster}".encode() in words:
                result.append(int(entry.name))
    assert result
    return result


def test_a_cluster_that_is_not_there_is_said_in_one_line(releases: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text((ROOT / "serving" / "serve.yaml").read_text())
    nobody = f"127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "serving",
        "deploy",
        str(config),
        "--address",
        nobody,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert f"cannot connect to a Ray cluster at {nobody}" in done.stderr
    assert "Traceback" not in done.stderr
