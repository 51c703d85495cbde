"""The shape of the code in numbers: duplicate names, import circles, size of folders, files, functions.

    python -m tests.house [ROOT]

ROOT is a checkout, by default this one, so that two commits can be compared by the same rules. What counts:

- the four packages recsys, search, serving and clusters, without tests;
- a class or file base name that stands twice or more; ``__init__``, ``__main__`` and the four files that
  every model family has (``config``, ``family``, ``trainer``, ``scorer``) are not counted;
- an import circle: a strongly connected group of two or more modules; imports inside functions and those
  under ``if TYPE_CHECKING`` count, since a reader of one file needs the other.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

PACKAGES = ("recsys", "search", "serving", "clusters")
COMMON_FILES = {"__init__", "__main__", "config", "family", "trainer", "scorer"}
ROOT = Path(__file__).resolve().parent.parent


def module_files(root: Path = ROOT) -> dict[str, Path]:
    """Module name -> file, for every module of the four packages."""
    files: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(files) > 20, f"{root} is not a checkout of this project"
    return files


def import_graph(files: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, anywhere in its code."""
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    targets.add(submodule if submodule in files else node.module)
        graph[module] = {target for target in targets if target in files and target != module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """Strongly connected groups of two or more modules (Tarjan's algorithm), largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[frozenset[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            cut = stack.index(module)
            group = stack[cut:]
            del stack[cut:]
            if len(group) > 1:
                groups.append(frozenset(group))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return sorted(groups, key=lambda group: (-len(group), min(group)))


def line_kinds(path: Path) -> Counter[str]:
    """Lines of a file by kind: blank (not in a docstring), docstrings, imports, comments and code."""
    text = path.read_text()
    kinds: dict[int, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        kinds[number] = "blank" if not line.strip() else "comments" if line.lstrip()[0] == "#" else "code"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            kind = "imports"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            kind = "docstrings"  # a field's docstring among them
        else:
            continue
        kinds.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), kind))
    return Counter(kinds.values())


def duplicates(names: Iterator[str]) -> dict[str, int]:
    """The names that stand twice or more, with how often."""
    return {name: count for name, count in sorted(Counter(names).items()) if count > 1}


def report(root: Path) -> str:
    """The table that ``python -m tests.house`` prints."""
    files = module_files(root)
    trees = {module: ast.parse(path.read_text()) for module, path in files.items()}
    lines = {module: len(path.read_text().splitlines()) for module, path in files.items()}
    kinds = sum((line_kinds(path) for path in files.values()), Counter[str]())
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    classes = duplicates(
        node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    bases = duplicates(path.stem for path in files.values() if path.stem not in COMMON_FILES)
    knots = circles(import_graph(files))
    folders: dict[str, int] = defaultdict(int)
    for module, path in files.items():
        parts = path.relative_to(root).parts
        folders["/".join(parts[: min(2, len(parts) - 1)])] += lines[module]
    long = sorted((name for name in lines if lines[name] > 300), key=lambda name: -lines[name])
    rows = [
        f"files {len(files)}, lines {sum(lines.values())}",
        "  " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()),
        f"class names twice or more: {len(classes)}  {' '.join(f'{n}x{c}' for n, c in classes.items())}",
        f"file names twice or more: {len(bases)}  {' '.join(f'{n}x{c}' for n, c in bases.items())}",
        f"import circles: {len(knots)}",
        *(f"  {' <-> '.join(sorted(knot))}" for knot in knots),
        f"median file {median(lines.values()):.0f} lines, median function {median(functions):.0f} lines",
        f"files above 300 lines: {len(long)}  {' '.join(f'{name}:{lines[name]}' for name in long)}",
        f"README lines: {len((root / 'README.md').read_text().splitlines())}",
        "lines a folder:",
        *(f"  {folder:<28}{count:>6}" for folder, count in sorted(folders.items())),
    ]
    return "\n".join(rows)


def main() -> None:
    command = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    command.add_argument("root", nargs="?", type=Path, default=ROOT)
    print(report(command.parse_args().root.resolve()))


if __name__ == "__main__":
    main()
