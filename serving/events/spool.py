"""Write-ahead spool of exposures: they survive when their process is killed.

Exposures are committed in batches after the response was sent. Until then they are lines of a spool file (a
``write`` without ``fsync``: the page cache survives a killed process, though not a power cut). Each process
has two locked files: one is appended to, the other is truncated once all its rows are committed. A file whose
lock is free belonged to a dead process, and the next process recovers its rows. Inserts are idempotent, so a
row that was both committed and recovered counts once. The spool also holds what exceeds the queue in memory
while the store is unavailable.

A record is one line: its length and CRC-32 in hexadecimal, then JSON. A torn or damaged record is moved to
``NAME.broken`` and counted; the records around it are read.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recsys.io import write_atomic
from serving.events.engine import sqlite_file

Accept = Callable[[dict[str, Any]], bool]
CHUNK = 1_000  # rows
MAX_BYTES = 1 << 30  # beyond them rows are refused rather than the disk filled


def spool_folder(events: str) -> Path:
    """The default spool folder of an event store's file or URL."""
    file = sqlite_file(events)
    return Path("runs/spool").absolute() if file is None else Path(f"{file}.spool")


class SpoolFile:
    """A locked spool file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._torn = False
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def append(self, line: bytes) -> bool:
        """Append a line; False where it could not be written completely, and a partial one is removed."""
        if self._torn:  # a partial line precedes
            line = b"\n" + line
        try:
            written = os.write(self._file, line)
        except OSError:
            return False
        self.size += written
        if written < len(line):
            try:
                os.ftruncate(self._file, self.size - written)
                self.size -= written
            except OSError:
                self._torn = True
            return False
        self._torn = False
        return True

    def clear(self) -> None:
        if self.size:
            os.ftruncate(self._file, 0)
            self.size = 0
            self._torn = False

    def close(self) -> None:
        """Close the file, and remove it if it is empty."""
        if self.size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._file)


class Spool:
    """The two spool files of a process: one is appended to while the rows of the other are committed, so that
    disk space is freed under continuous load."""

    def __init__(self, folder: Path, *, largest: int = MAX_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        self._active, self._older = (SpoolFile(folder / f"{name}-{n}.jsonl") for n in range(2))
        self._largest = largest
        self.broken = 0  # damaged records met while the files were read

    @property
    def size(self) -> int:
        """Bytes in both files."""
        return self._active.size + self._older.size

    @property
    def active_size(self) -> int:
        return self._active.size

    def append(self, row: bytes) -> bool:
        """Append a JSON record; False where it cannot be stored (size limit, full disk, short write)."""
        line = frame(row)
        return self.size + len(line) < self._largest and self._active.append(line)

    def rotate(self) -> bool:
        """Append to the other file from now on; False while that still has rows."""
        if self._older.size:
            return False
        self._active, self._older = self._older, self._active
        return True

    def clear(self) -> None:
        self._active.clear()
        self._older.clear()

    def clear_older(self) -> None:
        self._older.clear()

    def older_rows(self, accept: Accept = bool) -> Iterator[list[dict[str, Any]]]:
        """Rows of the file that is not appended to; those that ``accept`` refuses are damaged."""
        yield from read(self._older.path, self, accept)

    def close(self) -> None:
        self._active.close()
        self._older.close()


@contextlib.contextmanager
def abandoned(folder: Path) -> Iterator[list[Path]]:
    """The files of dead processes, locked within the block; the caller deletes those that it has stored."""
    locked: dict[int, Path] = {}
    try:
        for path in sorted(folder.glob("*.jsonl")):
            try:
                file = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked[file] = path
            except OSError:
                os.close(file)
        yield [path for path in locked.values() if path.exists()]
    finally:
        for file in locked:
            os.close(file)


def frame(body: bytes) -> bytes:
    """A record's line: length and CRC-32 (8 hexadecimal digits each), then its JSON ``body``."""
    return b"%08x %08x %s\n" % (len(body), zlib.crc32(body), body)


def decode(line: bytes) -> dict[str, Any] | None:
    """The record of a line, None for a damaged one. Plain JSON lines of older versions are accepted."""
    body = line.rstrip(b"\n")
    try:
        if not body.startswith(b"{"):
            length, checksum, body = int(body[:8], 16), int(body[9:17], 16), body[18:]
            separated = line[8:9] == line[17:18] == b" "
            if not separated or len(body) != length or zlib.crc32(body) != checksum:
                return None
        row = json.loads(body)
    except ValueError:  # also UnicodeDecodeError and JSONDecodeError
        return None
    return row if isinstance(row, dict) else None


class Damage:
    """Counts the damaged records of a file."""

    broken = 0


def read(path: Path, damage: Spool | Damage, accept: Accept = bool) -> Iterator[list[dict[str, Any]]]:
    """Rows in chunks. Damaged lines and rows that ``accept`` refuses are moved to ``NAME.broken`` and counted
    in ``damage``."""
    rows: list[dict[str, Any]] = []
    with path.open("rb") as lines:
        for line in lines:
            row = decode(line)
            if row is None or not accept(row):
                if line.strip():
                    damage.broken += 1
                    _set_aside(path.with_suffix(".broken"), line)
                continue
            rows.append(row)
            if len(rows) == CHUNK:
                yield rows
                rows = []
    if rows:
        yield rows


def _set_aside(path: Path, line: bytes) -> None:
    """Save a damaged line for an operator; a full disk does not stop the recovery."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            os.write(file, line)
        finally:
            os.close(file)


def erase_lines(folder: Path, user_id: str) -> bool:
    """Remove a user's rows from the files of dead processes and of damaged records.

    Returns:
        Whether no file has one any more. A live process's file is truncated when its rows are committed.
    """
    needle = json.dumps(user_id).encode()
    with abandoned(folder) as paths:
        for path in [*paths, *folder.glob("*.broken")]:
            lines = path.read_bytes().splitlines(keepends=True)
            remaining = [line for line in lines if needle not in line]
            if len(remaining) < len(lines):
                write_atomic(path, b"".join(remaining), private=True)
    return not any(needle in _bytes(path) for path in folder.glob("*.jsonl"))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
