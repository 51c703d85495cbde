"""Imports point one way, and frameworks stay at the rim."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"recsys", "search", "serving", "clusters"}
MAY_IMPORT = {"recsys": set(), "clusters": set(), "search": {"recsys", "clusters"}, "serving": {"recsys"}}
# A framework, and the files or folders that may import it.
RIM = {
    "ray": (
        "search/tune",
        "search/sampling/trial_queue",
        "serving/app",
        "serving/replica",
        "clusters",
    ),
    "optuna": ("search/sampling/trial_queue", "search/tune", "search/report"),
    "fastapi": ("serving/api", "serving/schemas"),
    "mlflow": ("search/tracking", "serving/registry"),
    "torch": ("recsys",),
}


def modules() -> list[Path]:
    files = [path for name in sorted(OURS) for path in sorted((ROOT / name).rglob("*.py"))]
    assert len(files) > 20
    return files


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    place = path.relative_to(ROOT)
    package = place.parts[0]
    names = imported(path)
    assert names & OURS <= {package} | MAY_IMPORT[package]
    for framework, homes in RIM.items():
        if framework in names:
            assert str(place).startswith(homes), f"{place} imports {framework}, which belongs in {homes}"
