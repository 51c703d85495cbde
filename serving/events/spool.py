"""A write-ahead file for exposures: an answer that was given is not lost when its process is killed.

Exposures are committed in batches after the answer has gone out. Until then their row lies here: one
appended line (a ``write`` without ``fsync``: the page cache outlives a killed process, though not a
power cut), emptied once all of it is committed. Each process has its own file and holds a lock on it;
a file whose lock is free belonged to a dead one, and whoever finds it brings its rows in. Inserting is
idempotent, so a row that was committed and also recovered counts once. The same file carries what an
unreachable store makes wait beyond the queue in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[dict[str, Any]]
LARGEST = 1 << 30  # bytes; beyond it rows are refused rather than the disk filled


class Spool:
    """This process's file in ``folder``."""

    def __init__(self, folder: Path, *, largest: int = LARGEST) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{uuid.uuid4().hex}.jsonl"
        flags = os.O_CREAT | os.O_RDWR | os.O_APPEND
        self._file = os.open(self.path, flags, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._largest = largest
        self.size = 0

    def append(self, row: dict[str, Any]) -> bool:
        """False when the file is as large as it may be."""
        line = json.dumps(row).encode() + b"\n"
        if self.size + len(line) > self._largest:
            return False
        self.size += os.write(self._file, line)
        return True

    def clear(self) -> None:
        if self.size:
            os.ftruncate(self._file, 0)
            self.size = 0

    def rows(self, chunk: int = 1_000) -> Iterator[list[dict[str, Any]]]:
        yield from _read(self.path, chunk)

    def close(self) -> None:
        """Removes the file if nothing waits in it."""
        if self.size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._file)


@contextlib.contextmanager
def abandoned(folder: Path) -> Iterator[list[Path]]:
    """The files of dead processes, locked while they are read; the reader deletes what it has stored."""
    held: dict[int, Path] = {}
    try:
        for path in sorted(folder.glob("*.jsonl")):
            try:
                file = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held[file] = path
            except OSError:
                os.close(file)
        yield [path for path in held.values() if path.exists()]
    finally:
        for file in held:
            os.close(file)


def _read(path: Path, chunk: int) -> Iterator[list[dict[str, Any]]]:
    """Whole lines only: a process killed in mid-write leaves half of one."""
    found: list[dict[str, Any]] = []
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            found.append(json.loads(line))
            if len(found) == chunk:
                yield found
                found = []
    if found:
        yield found


def read(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of an abandoned file."""
    return _read(path, 1_000)
