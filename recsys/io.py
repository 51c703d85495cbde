"""Atomic file replacement, JSON lines and a lock between processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from recsys.types import JsonObject


@contextmanager
def atomic_path(path: Path, *, sync: bool = True, private: bool = False) -> Iterator[Path]:
    """A path beside ``path`` to write to: synced and renamed into place when the block ends well.

    Otherwise it is removed, and what was at ``path`` before stays.

    Args:
        path: Where the file will be; its folder is made.
        sync: Whether the content must be on the disk before the rename, so that a power cut costs nothing.
        private: Whether only the owner may read the file (0600), at every moment.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if private:
            temporary.unlink(missing_ok=True)
            temporary.touch(mode=0o600, exist_ok=False)
        yield temporary
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | memoryview, *, sync: bool = True, private: bool = False) -> Path:
    """Writes a whole file, or leaves what was there (see ``atomic_path``).

    Args:
        path: Of the file; its folder is made.
        data: Its content.
        sync: Whether to sync before the rename.
        private: Whether only the owner may read it.

    Returns:
        ``path``.

    Raises:
        OSError: A full disk, or no permission.
    """
    with atomic_path(path, sync=sync, private=private) as temporary:
        temporary.write_bytes(data)
    return path


def append_line(path: Path, row: JsonObject, *, sync: bool = True) -> None:
    """Appends one JSON line, on a line of its own also after one that was cut short.

    Args:
        path: Of the file; made where it is missing.
        row: A JSON object.
        sync: Whether it must be on the disk before this returns.

    Raises:
        OSError: A full disk, or no permission.
    """
    with open(path, "ab+") as file:
        text = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            text = text if file.read(1) == b"\n" else b"\n" + text
        file.write(text)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def iter_lines(path: Path, start: int = 0) -> Iterator[tuple[Any, int]]:
    """Reads complete JSON lines; lines that are not JSON (cut short by a kill) are skipped.

    Args:
        path: Of the file; a missing one has no lines.
        start: Byte offset to read from.

    Yields:
        The row and the byte offset after it.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            try:
                row = json.loads(line)
            except ValueError:
                continue
            yield row, start


def read_lines(path: Path) -> list[Any]:
    """All complete JSON lines of a file.

    Args:
        path: Of the file; a missing one has no lines.
    """
    return [row for row, _ in iter_lines(path)]


class FileLock:
    """An exclusive lock between processes, released when the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Takes the lock without waiting.

        Returns:
            False where another process holds it.

        Raises:
            OSError: The file cannot be opened.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Releases the lock, where this process holds it."""
        if self._file is not None:
            self._file.close()
            self._file = None
