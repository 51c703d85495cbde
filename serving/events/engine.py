"""SQLAlchemy engines for an event store's URL.

SQLite (the default, for one machine) runs in WAL mode, where readers never wait for the writer, with
``synchronous=FULL``, so that a commit is on disk before it returns, and with ``secure_delete``, which
overwrites deleted rows; only the owner can read the file. PostgreSQL is for several machines.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from recsys.data.event_store import parse_address, without_credentials
from recsys.errors import InputError

BUSY_SECONDS = 2.0  # timeout of a lock, and of a connection


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite store's URL or path, None for any other database."""
    file = url.removeprefix("sqlite:///")
    return None if "://" in file else Path(file)


def connect(url: str) -> Engine:
    """An engine for ``url``: a file path or ``sqlite:///path``, or ``postgresql://...`` (by psycopg)."""
    try:
        parsed = parse_address(url)
        if parsed.get_backend_name() == "postgresql":
            wait = {"connect_timeout": int(BUSY_SECONDS)}
            return create_engine(parsed, pool_pre_ping=True, pool_size=4, connect_args=wait)
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError):
        raise InputError(
            f"cannot use {without_credentials(url)!r} for events; give a file path, sqlite:///path, or postgresql://"
            "user@host/database with the extra installed: python -m pip install -e '.[postgres]'"
        ) from None
    event.listen(engine, "connect", _sqlite_settings)
    return engine


class StoreGone(OSError):
    """The SQLite file was moved or deleted; further writes would go to an unlinked file."""


class FileWatch:
    """Detects that a SQLite file was replaced, moved or deleted."""

    def __init__(self, engine: Engine) -> None:
        self._path = engine.url.database if engine.dialect.name == "sqlite" else None
        self._engine = engine
        self._inode: int | None = None
        if self._path:
            event.listen(engine, "do_connect", self._no_new_file)

    def check(self) -> bool:
        """True for a new file, whose tables must be created. Raises ``StoreGone`` where it is missing."""
        if not self._path or self._path == ":memory:":
            return False
        try:
            inode = os.stat(self._path).st_ino
        except FileNotFoundError:
            if self._inode is None:
                return True
            self._engine.dispose()
            raise StoreGone(f"{self._path} has been moved or deleted") from None
        if inode == self._inode:
            return False
        if self._inode is not None:
            self._engine.dispose()
        _make_private(Path(self._path))
        self._inode = inode
        return True

    def _no_new_file(self, *_: object) -> None:
        """Refuse to connect to a missing file: SQLite would create an empty one."""
        if self._path == ":memory:":
            return
        if self._inode is None:
            _make_private(Path(str(self._path)))
        elif not os.path.exists(str(self._path)):
            raise StoreGone(f"{self._path} has been moved or deleted")


def _make_private(path: Path) -> None:
    """Restrict the file to its owner; SQLite gives its companion files the same mode."""
    with contextlib.suppress(OSError):  # another owner's file, or a full disk: the next write reports it
        if path.exists():
            path.chmod(path.stat().st_mode & 0o770)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _sqlite_settings(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    busy = f"busy_timeout={int(BUSY_SECONDS * 1000)}"
    for pragma in (busy, "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
