"""Documentation: every command parses, every Python block runs, every file that is named exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import clusters.cli
import search.breakthrough
import search.experiment
import serving.__main__ as serving
import tests.benchmarks.ablation.__main__ as ablation
import tests.benchmarks.floor.__main__ as floor
import tests.benchmarks.peers.__main__ as peers

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS: dict[str, Callable[[list[str]], object]] = {
    "python search/breakthrough.py": search.breakthrough.parser().parse_args,
    "python search/experiment.py": search.experiment.parser().parse_args,
    "python -m clusters": clusters.cli.parser().parse_args,
    "python -m tests.benchmarks.ablation": ablation.parser().parse_args,
    "python -m serving": serving.parse,
    "python -m tests.benchmarks.floor": floor.parser().parse_args,
    "python -m tests.benchmarks.peers": peers.parser().parse_args,
}
# Commands of other programs: the shell, curl, pip, make.
OTHER_PROGRAMS = ("curl ", "export RUNPOD_API_KEY=", "python -m pip install", "python -m pytest", "make ")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    listed = sorted({line for line in lines if line and not line.startswith("#")})
    assert len(listed) > 40
    return listed


@pytest.mark.parametrize("command", commands())
def test_every_command_parses(command: str) -> None:
    if command.startswith(OTHER_PROGRAMS):
        return
    program = next((name for name in PROGRAMS if command.startswith(name)), None)
    if program is None:
        module = re.match(r"python -m ([\w.]+)|python ([\w/]+\.py)", command)
        assert module is not None, f"a command that no test knows: {command}"
        path = ROOT / (module[2] or module[1].replace(".", "/") + ".py")
        package = path.with_suffix("") / "__main__.py"
        assert path.is_file() or package.is_file(), f"{command}: {path.name} does not exist"
        return
    words = shlex.split(command.removeprefix(program), comments=True)
    if words == ["--help"]:
        with pytest.raises(SystemExit, match="0"):
            PROGRAMS[program](words)
    else:
        PROGRAMS[program](words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    text = re.sub(r"^A new file `[^`]+`", "", page.read_text(), flags=re.MULTILINE)
    for name in re.findall(r"`((?:recsys|search|serving|clusters|tests|docs)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}, which does not exist"
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links {target}, which does not exist"


def test_the_readme_is_short_and_its_tree_exists() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    tree = text.split("## The tree")[1].split("## Read on")[0]
    tops = re.findall(r"^    (\w+)/", tree, flags=re.MULTILINE)
    assert {"recsys", "search", "serving", "clusters", "docs", "tests"} <= set(tops)
    top = ""
    for line in tree.splitlines():
        top = next(iter(re.findall(r"^    (\w+)/", line)), top)
        names = (
            line.split("   ")[0] if not line.startswith("      ") else re.split(r"\s{2,}", line.strip())[0]
        )
        for folder in re.findall(r"\b(\w+)/", re.split(r"\s{2,}", names.strip())[0]):
            assert (ROOT / folder).is_dir() or (ROOT / top / folder).is_dir(), f"{folder}/ does not exist"
