"""The real commands where a machine has no home, no shared memory, no root and somebody else's Ray."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.bare_machine import USER, start_bare
from tests.end_to_end.commands import ROOT, ended, results_of
from tests.waiting import free_port

pytestmark = pytest.mark.system  # needs root: mount namespaces, another user
SMALLEST = [
    *("--trials", "2", "--epochs", "1", "--concurrency", "1"),
    *(
        "--set",
        "baselines=[]",
        "--set",
        "families={hybrid_vae: 1}",
        "--set",
        "points=[]",
        "--set",
        "reference.epochs=1",
        "--set",
        "checkpoint_seconds=0",
    ),
]
OTHER_RAY = """
import ray, sys
context = ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
print("address", context.address_info["gcs_address"], flush=True)
sys.stdin.read()
assert [node["Alive"] for node in ray.nodes()] == [True]  # nobody joined, nobody ended it
"""
NOBODY_THERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own may not be."""
    folder = Path(tempfile.mkdtemp(prefix="bare-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def other_ray() -> Iterator[str]:
    """The address of somebody else's Ray on this machine."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_RAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    address = next(line.split()[1] for line in process.stdout if line.startswith("address"))
    yield address
    process.stdin.close()
    assert process.wait(120) == 0  # it was not touched


@pytest.fixture(scope="module")
def bare_run(scratch: Path, other_ray: str) -> tuple[Path, str]:
    """A search of an unknown user beside another Ray; its folder and what it printed."""
    folder = scratch / "ünknown user"
    folder.mkdir()
    table = folder / "données.csv"
    rows = [f"josé{at % 40},фильм{at % 31},{1 + at * at % 7 % 5},{1_500_000_000 + at}\n" for at in range(700)]
    table.write_text("user,item,rating,timestamp\n" + "".join(rows), encoding="utf-8")
    out = folder / "läuft"
    words = [str(ROOT / "search" / "breakthrough.py"), "--data", str(table), "--out", out.name, *SMALLEST]
    environment = {
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "RAY_ADDRESS": NOBODY_THERE,
        "MLFLOW_EXPERIMENT_NAME": "somebody's own",
    }
    log = scratch / "unknown.log"
    status = ended(start_bare(folder, words, log=log, environment=environment))
    text = log.read_text()
    assert status == 0, text
    return out, text


def test_a_user_with_nothing_gets_a_release(bare_run: tuple[Path, str]) -> None:
    out, printed = bare_run
    assert out.stat().st_uid == USER
    assert results_of(out)["ensemble"]["test"]["rmse"] > 0
    assert (out / "release" / "manifest.json").is_file()
    assert "note: this user has no home folder" in printed
    assert "1 trials at once on this machine, 1 CPU each" in printed  # the quota's one core
    assert "donn\\xe9es" in printed
    assert "Traceback" not in printed
    assert "MLflow cannot be reached" not in printed
    with sqlite3.connect(out.parent / "mlflow.db") as store:
        names = {name for (name,) in store.execute("SELECT name FROM experiments")}
    assert "somebody's own" in names


def test_its_release_is_served_beside_another_ray_with_a_home_that_cannot_be_written(
    bare_run: tuple[Path, str], other_ray: str, scratch: Path
) -> None:
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    port = free_port()
    words = ["-m", "serving", "serve", "--release", str(bare_run[0] / "release"), "--port", str(port)]
    environment = {"HOME": str(home), "RAY_ADDRESS": other_ray, "LC_ALL": "C"}
    log = scratch / "served.log"
    process = start_bare(scratch / "served", words, log=log, environment=environment, read_only=home)
    try:
        end = time.monotonic() + 180
        while "ready in" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/users/josé3/recommendations?count=5", timeout=120)
        assert len(answer.json()["items"]) == 5
    finally:
        process.terminate()
    assert process.wait(120) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
