"""What is sent to a node: the project's packages and the files that the arguments name; each once, and small.

The list of code comes from git (tracked and new files that are not ignored), or, without git, from a walk
with the same exclusions; only the packages and pyproject.toml, so no .git, no runs, no virtual environment,
no tests. An argument that is a path on this machine outside the project is sent along and renamed for the
other side.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from clusters.cluster_errors import ClusterError

PACKAGES = ("recsys", "search", "serving", "clusters")
ROOT = Path(__file__).resolve().parent.parent
INPUTS = "inputs"  # folder beside the code, on the node
LARGEST_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Archive:
    """A compressed archive, and what is in it."""

    data: bytes
    files: int
    raw_bytes: int

    def text(self, what: str) -> str:
        return f"{what}: {self.files} files, {size(self.raw_bytes)}, {size(len(self.data))} over the wire"


def size(count: int) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 2**10:.1f} kB"


def code_files(root: Path = ROOT) -> list[Path]:
    """Files of the project to send, relative to its root, sorted."""
    wanted = [*PACKAGES, "pyproject.toml", "README.md"]
    listed = subprocess.run(
        [
            "git",
            "-C",
            str(root),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            *wanted,
        ],
        capture_output=True,
    )
    if listed.returncode == 0 and listed.stdout:
        names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [path.relative_to(root) for name in PACKAGES for path in (root / name).rglob("*")]
        names += [Path("pyproject.toml"), Path("README.md")]
        names = [name for name in names if "__pycache__" not in name.parts and not name.name.startswith(".")]
    files = sorted(name for name in names if (root / name).is_file())
    if not any(name.parts[0] == "search" for name in files):
        raise ClusterError(f"{root} does not hold the project (no search/); run from a checkout of it")
    return files


def pack(files: dict[str, Path]) -> Archive:
    """An archive of these files (name there: path here), compressed."""
    buffer = io.BytesIO()
    raw = 0
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, path in files.items():
            member = archive.gettarinfo(str(path), arcname=name)
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            raw += member.size
            with path.open("rb") as file:
                archive.addfile(member, file)
    return Archive(buffer.getvalue(), len(files), raw)


def pack_code(root: Path = ROOT) -> Archive:
    return pack({str(name): root / name for name in code_files(root)})


def is_path(value: str) -> bool:
    """Whether an argument names something on this machine. A bare word is a data set's name, never a path."""
    return (os.sep in value or value.endswith((".yaml", ".yml", ".json", ".csv"))) and Path(value).exists()


def upload_inputs(arguments: list[str]) -> tuple[list[str], dict[str, Path]]:
    """Arguments as the node will see them, and the files to send (name there: path here).

    Paths inside the project become relative to it; others become inputs/N/NAME.

    Raises:
        ClusterError: a folder too large to be meant.
    """
    forwarded: list[str] = []
    files: dict[str, Path] = {}
    for number, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if not value or not is_path(value):
            forwarded.append(argument)
            continue
        path = Path(value).resolve()
        if (
            path.is_relative_to(ROOT)
            and path.relative_to(ROOT).parts[:1][0:1]
            and (path.relative_to(ROOT).parts[0] in PACKAGES)
        ):
            forwarded.append(f"{flag}{equals}{path.relative_to(ROOT)}")
            continue
        name = f"{INPUTS}/{number}/{path.name}"
        if path.is_dir():
            files |= {
                f"{name}/{part.relative_to(path)}": part for part in sorted(path.rglob("*")) if part.is_file()
            }
        else:
            files[name] = path
        forwarded.append(f"{flag}{equals}../{name}")
    total = sum(path.stat().st_size for path in files.values())
    if total > LARGEST_BYTES:
        raise ClusterError(
            f"the arguments name {size(total)} of files to send; at most {size(LARGEST_BYTES)}"
        )
    return forwarded, files
