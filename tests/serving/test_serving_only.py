"""The image's steps in an empty environment: a release served without torch, on the newest other Python.

What serving/deployment/Dockerfile copies is installed and started as it says: no torch, Optuna, MLflow or
matplotlib. The release is made by this process; the environment also runs the tests that need none of them.
Prints packages and megabytes of both environments.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.releases import make_release
from tests.serving.image_steps import command, copy_context, health_command, pip_arguments

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]  # fills an environment by pip

ROOT = Path(__file__).resolve().parents[2]
NEWEST = (3, 14)
ABSENT = {"torch", "optuna", "mlflow", "matplotlib"}
TORCH_FREE = [
    "tests/recsys/metrics",
    "tests/recsys/ranking/test_retrieval.py",  # the others of its folder train
    "tests/recsys/ranking/test_top_k.py",
    "tests/serving/test_assignment.py",
    "tests/test_imports.py",
]
PATIENCE_S = 180
KEY = "the key of this test"


def interpreters() -> list[str]:
    """The newest other Python from 3.11 on; this one where there is no other."""
    positions = [Path.home() / ".pyenv" / "versions", Path("/opt/python"), Path("/usr/local")]
    result: dict[tuple[int, int], str] = {}
    for minor in range(11, NEWEST[1] + 1):
        if (3, minor) == sys.version_info[:2]:
            continue
        name = f"python3.{minor}"
        candidates = [
            str(path) for index in positions for path in sorted(index.glob(f"3.{minor}.*/bin/{name}"))
        ]
        for candidate in [*candidates, shutil.which(name)]:
            works = candidate and subprocess.run([candidate, "-c", "import venv, ssl, sqlite3"], check=False)
            if candidate and works and works.returncode == 0:
                result.setdefault((3, minor), candidate)
    return [result[max(result)]] if result else [sys.executable]


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.mark.parametrize("interpreter", interpreters(), ids=lambda path: Path(path).name)
def test_it_serves(interpreter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = make_release(tmp_path / "release")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run([interpreter, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment["PATH"] = f"{python.parent}:{environment['PATH']}"
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    copy_context(tmp_path / "image")
    words = [str(python), "-m", "pip", "--quiet", *pip_arguments()]
    subprocess.run(words, check=True, env=environment, cwd=tmp_path / "image")
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json"],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    packages = {row["name"].lower() for row in json.loads(listed.stdout)}
    assert packages & ABSENT == set()
    here = len(list(importlib.metadata.distributions()))
    with capsys.disabled():
        print(
            f"\n{Path(interpreter).name}, extra serve: {len(packages)} packages, "
            f"{megabytes(tmp_path / 'venv'):.0f} MB; this environment: {here} packages"
        )

    (tmp_path / "home").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(tmp_path / "home")
    words = [word.replace("/release", str(release)).replace("/data", data) for word in command()]
    health = health_command()[-1].replace(":8000", f":{port}")
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            [str(python), *words[1:], "--port", str(port)],
            cwd=tmp_path / "home",
            env=environment | {"RECSYS_API_KEY": KEY},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        answer = wait_for_list(f"http://127.0.0.1:{port}/v1/users/u1/recommendations?count=5", server)
        subprocess.run([str(python), "-c", health], check=True, env=environment)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{(tmp_path / 'log').read_text()[-3000:]}") from None
    finally:
        stop(server)
    assert len(answer["items"]) == 5

    subprocess.run(
        [*pip, "pytest", "pytest-timeout", "hypothesis", "httpx", "scikit-learn"], check=True, env=environment
    )
    tests = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TORCH_FREE]
    subprocess.run(tests, check=True, env=environment, cwd=ROOT)


def wait_for_list(url: str, server: subprocess.Popen[bytes]) -> dict[str, list[object]]:
    """The first answer with status 200."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended before it answered"
        try:
            asked = urllib.request.Request(url, headers={"X-API-Key": KEY})
            with urllib.request.urlopen(asked, timeout=5) as response:
                answer: dict[str, list[object]] = json.load(response)
                return answer
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer in {PATIENCE_S} s")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, then whatever of it is left."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(120)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
