"""Copy run folders to where the cluster YAML keeps them: the release first, checkpoints last.

Ended at any moment (the guard gives it until shortly before the pod's deadline), what it has copied by then
is whole and in the order of its worth.

    python save.py RUNS TARGET       TARGET: a folder, or any fsspec URL (then fsspec must be installed)
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def save_priority(name: Path) -> tuple[int, str]:
    """Sort key of a file by its path relative to the runs: results and release, then trials, then
    checkpoints.
    """
    inside = name.parts[1:-1]
    if any(part.startswith("checkpoint") for part in name.parts):
        return 2, str(name)
    return (0 if not inside or inside[0] == "release" else 1), str(name)


def in_order(runs: Path) -> list[Path]:
    """Files under ``runs``, relative to it, most important first."""
    return sorted((path.relative_to(runs) for path in runs.rglob("*") if path.is_file()), key=save_priority)


def save(runs: Path, target: str) -> int:
    """Copy every file; how many."""
    count = 0
    if "://" not in target:
        for name in in_order(runs):
            destination = Path(target) / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            partial = destination.with_name(f".{destination.name}.part")
            shutil.copy2(runs / name, partial)
            os.replace(partial, destination)
            count += 1
        return count
    import fsspec

    files, root = fsspec.core.url_to_fs(target)
    if "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)):
        files.auto_mkdir = True  # only a disk has folders to make
    for name in in_order(runs):
        files.put_file(str(runs / name), f"{root}/{name}")
        count += 1
    return count


if __name__ == "__main__":
    print(f"{save(Path(sys.argv[1]), sys.argv[2])} files")
