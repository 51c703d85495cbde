"""Every curl of the guide's page on serving is run, as it stands there, and every catalogue route has one."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.releases import make_dataset, make_release
from tests.serving.running import Running, running

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "serving.md"
ADDRESS = "http://127.0.0.1:8000"
CALLS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("curl ")]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ids as in the guide: 1 to 120."""
    made = make_dataset(items=120, seed=3)
    catalogue = replace(made.catalogue, ids=np.array([str(row + 1) for row in range(120)]))
    return make_release(tmp_path_factory.mktemp("numbered") / "r", dataset=replace(made, catalogue=catalogue))


def call(made: Running, line: str) -> str:
    """What the line prints, its address that of ``made``. Raises where the server refuses."""
    words = [os.path.expandvars(word) for word in shlex.split(line.replace(ADDRESS, made.url))]
    done = subprocess.run(
        [*words, "--fail-with-body", "--silent", "--show-error", "--max-time", "120"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_guide_s_calls_do_what_they_say(release: Path, tmp_path: Path, admin_token: str) -> None:
    with running(tmp_path, {"a": release}) as made:
        answers = {line: json.loads(call(made, line)) for line in CALLS}
        assert len(answers) == len(CALLS) >= 19
        shown = made.client.get("/v1/items/n1").json()
        assert (shown["title"], shown["features"]) == ("A New Film (2026)", {"price": 3.5, "language": "en"})
        assert made.client.get("/v1/items/50").status_code == 404  # DELETE
        assert made.client.get("/v1/items/1").json()["features"] == {"price": 2}  # POST of many
        rules = made.client.get("/v1/rules").json()
        assert (rules["revision"], rules["hidden"], rules["diversity"]) == (2, ["50"], 0.3)
        schema = made.client.get("/openapi.json").json()
    wanted = {
        (method.upper(), path)
        for path, methods in schema["paths"].items()
        for method, about in methods.items()
        if {"catalogue", "items", "rules"} & set(about["tags"])
    }
    assert len(wanted) >= 14
    assert {route for route in wanted if not any(fits(line, *route) for line in CALLS)} == set()


def fits(line: str, method: str, path: str) -> bool:
    """Whether a call is of the route."""
    result = re.search(r"-X (\w+)", line)
    address = re.search(re.escape(ADDRESS) + r"([^ '?]*)", line)
    pattern = re.sub(r"\{[^}]*\}", "[^/]+", path)
    return (result[1] if result else "GET") == method and bool(address and re.fullmatch(pattern, address[1]))
