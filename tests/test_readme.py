"""Every command of the README is one that its program takes; the test line is what CI runs."""

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
import tests.benchmarks.ablation.__main__ as ladder
import tests.benchmarks.floor.__main__ as floor
import tests.benchmarks.peers.__main__ as peers

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS: dict[str, Callable[[list[str]], object]] = {
    "python search/breakthrough.py": search.breakthrough.parser().parse_args,
    "python search/experiment.py": search.experiment.parser().parse_args,
    "python -m clusters": clusters.cli.parser().parse_args,
    "python -m tests.benchmarks.ablation": ladder.parser().parse_args,
    "python -m serving": serving.parse,
    "python -m tests.benchmarks.floor": floor.parser().parse_args,
    "python -m tests.benchmarks.peers": peers.parser().parse_args,
}
# What runs as it stands in CI (the test line), or is nobody's command line but the shell's.
OTHERS = ("python -m pip install -e '.[test]' && python -m pytest", "curl ", "export RUNPOD_API_KEY=")


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
    found = [line.removeprefix("python -m pip install -e . && ") for line in lines]
    assert len(found) > 20
    return found


@pytest.mark.parametrize("command", commands())
def test_the_command_is_taken(command: str) -> None:
    if command.startswith(OTHERS):
        return
    program = next((name for name in PROGRAMS if command.startswith(name)), None)
    if program is None:
        module = re.match(r"python -m ([\w.]+)|python ([\w/]+\.py)", command)
        assert module is not None, f"a command that no test knows: {command}"
        path = ROOT / (module[2] or module[1].replace(".", "/") + ".py")
        package = path.with_suffix("") / "__main__.py"
        assert path.is_file() or package.is_file(), f"{command}: there is no {path.name}"
        return
    words = shlex.split(command.removeprefix(program), comments=True)
    if words == ["--help"]:
        with pytest.raises(SystemExit, match="0"):
            PROGRAMS[program](words)
    else:
        PROGRAMS[program](words)


def test_every_folder_of_the_tree_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    tree = text.split("## The tree")[1].split("## Which file")[0]
    tops = re.findall(r"^    (\w+)/", tree, flags=re.MULTILINE)
    assert {"recsys", "search", "serving", "clusters", "tests"} <= set(tops)
    for name in re.findall(r"`((?:recsys|search|serving|clusters|tests)/[\w/.]+)`", text):
        assert (ROOT / name).exists(), f"the README names {name}, which is not there"
