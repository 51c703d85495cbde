"""Schemathesis against the OpenAPI description: no 5xx, and no answer that is not described."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.running import ADMIN, Running, running

pytestmark = pytest.mark.system
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path, admin_token: str) -> Iterator[Running]:
    with running(tmp_path, releases) as entry:
        yield entry


def test_no_server_error_and_nothing_undocumented(made: Running, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{made.url}/openapi.json"]
    command += ["--checks", CHECKS, "--max-examples", "12", "--seed", "1", "--generation-database", "none"]
    command += ["--header", f"Authorization: Bearer {ADMIN}", "--phases", "examples,coverage,fuzzing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert made.client.get("/healthz").status_code == 200
