"""docs/extending.md, followed: each recipe's edits in a copy of the tree, and what must then hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.releases import make_release

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "extending.md"
RECIPES = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
EDIT = re.compile(r"^In `([^`]+)`, (after|before|in place of) `([^`]+)`:\n\n```\w+\n(.*?)```", re.M | re.S)
NEW_FILE = re.compile(r"^A new file `([^`]+)`:\n\n```\w+\n(.*?)```", re.M | re.S)
CHECK = re.compile(r"^Then this holds:\n\n```python\n(.*?)```", re.M | re.S)
PROMISED = {
    "A model family",
    "A ranker",
    "A rule on lists",
    "A request option",
    "A split",
    "A metric in results.json and the report",
    "An event kind",
    "A cloud",
    "A sampler",
}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("recipes") / "release")


def test_every_recipe_is_there() -> None:
    assert {title for title, _ in RECIPES} == PROMISED


def edit(path: Path, where: str, anchor: str, block: str) -> None:
    """Put ``block`` after, before or in place of the one line that holds ``anchor``."""
    lines = path.read_text().splitlines(keepends=True)
    at = [row for row, line in enumerate(lines) if anchor in line]
    assert len(at) == 1, f"docs/extending.md: {path.name} holds {anchor!r} {len(at)} times, expected once"
    start = at[0] + (where == "after")
    lines[start : at[0] + 1 if where != "before" else start] = [block]
    path.write_text("".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize(("title", "text"), RECIPES, ids=[title for title, _ in RECIPES])
def test_a_recipe_does_what_it_says(title: str, text: str, release: Path, tmp_path: Path) -> None:
    for package in ("recsys", "search", "serving", "clusters", "tests"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "old_runs")
        )
    new_files = NEW_FILE.findall(text)
    for name, block in new_files:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(block)
    edits = EDIT.findall(text)
    assert edits or new_files
    for name, where, anchor, block in edits:
        edit(tmp_path / name, where, anchor, block)
    checks = CHECK.findall(text)
    assert len(checks) == 1
    assert "assert" in checks[0]
    program = f"from pathlib import Path\nRELEASE = Path({str(release)!r})\n{checks[0]}\nprint('holds')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, f"{title}: {ended.stderr}"
    assert ended.stdout.strip() == "holds"
