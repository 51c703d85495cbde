"""Imports point one way, frameworks stay at the rim, and no two modules import each other."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.house import PACKAGES, ROOT, circles, import_graph, module_files

MAY_IMPORT = {"recsys": set(), "clusters": set(), "search": {"recsys", "clusters"}, "serving": {"recsys"}}
# A framework, and the files or folders that may import it.
RIM = {
    "ray": (
        "recsys/local_ray",
        "search/tune",
        "search/sampling/trial_queue",
        "serving/app",
        "serving/recommender_replica",
        "serving/operations_replica",
        "serving/operations_client",
        "serving/ray_patches",
        "clusters",
    ),
    "optuna": ("search/sampling/family_sampler", "search/tune", "search/report"),
    "fastapi": ("serving/api", "serving/schemas"),
    "mlflow": ("search/tracking", "serving/release_registry"),
    "torch": ("recsys",),
}


def top_level_imports(path: Path) -> set[str]:
    """The first part of every name that ``path`` imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def violations(path: Path) -> list[str]:
    """What ``path`` imports and may not, in words."""
    index = path.relative_to(ROOT)
    names = top_level_imports(path)
    package = index.parts[0]
    wrong = names & {*PACKAGES, "tests"} - {package} - MAY_IMPORT[package]
    result = [
        f"{index} imports {name}: {package} may import {MAY_IMPORT[package] or 'none'}" for name in wrong
    ]
    return result + [
        f"{index} imports {framework}, which belongs in {homes}"
        for framework, homes in RIM.items()
        if framework in names and not str(index).startswith(homes)
    ]


def test_imports_point_one_way_and_frameworks_stay_at_the_rim() -> None:
    assert [line for path in module_files().values() for line in violations(path)] == []


def test_no_two_modules_import_each_other() -> None:
    assert [sorted(circle) for circle in circles(import_graph(module_files()))] == []


def test_a_circle_is_seen() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": set(), "f": {"g"}, "g": {"f"}}
    assert circles(graph) == [{"a", "b", "c"}, {"f", "g"}]
