"""An outbox of MLflow entries on disk: a line of JSON each, and the position up to which they were sent.

The run writes lines and goes on; a sender reads them from its cursor, now or days later. So a server
that is away costs the run nothing and loses nothing. The address is kept only as a hash, since it may
hold a password; lines that went to another address are sent again, from the first, to the new one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys.io import FileLock, append_line, iter_lines, write_atomic
from recsys.types import JsonObject

log = logging.getLogger(__name__)

FOLDER = "tracking"
JOURNAL = "journal.jsonl"
STATE = "state.json"


class Outbox:
    """The lines of one run's folder. Appending never raises: a full disk costs lines, not the run."""

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder / FOLDER
        self.run_folder = run_folder
        self.path = self.folder / JOURNAL
        self.lost = 0
        self._lock = threading.Lock()

    def exists(self) -> bool:
        return self.path.is_file()

    def append(self, entry: JsonObject) -> None:
        """Append one line; the operating system has it before this returns."""
        try:
            with self._lock:
                self.folder.mkdir(parents=True, exist_ok=True)
                append_line(self.path, entry, sync=False)
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                log.warning("tracking: %s cannot be written (%s)", self.path, error.strerror)

    def read(self, start: int) -> Iterator[tuple[JsonObject, int]]:
        """(entry, offset after it) of every whole line from ``start`` bytes on; broken ones are left out."""
        return iter_lines(self.path, start)

    def size(self) -> int:
        return self.path.stat().st_size if self.exists() else 0


class SendPosition:
    """How far a journal has been sent to one address, and MLflow's ids for what was sent.

    Only the process that holds the state file's lock may send a journal.
    """

    def __init__(self, journal: Outbox, uri: str) -> None:
        self._path = journal.folder / STATE
        self._address = hashlib.sha256(uri.encode()).hexdigest()
        self._lock = FileLock(self._path.with_suffix(".lock"))
        self.offset = 0
        self.ids: dict[str, str] = {}
        self.steps: dict[str, int] = {}
        self.answers: dict[str, Any] = {}
        self.fresh = True  # nothing was ever sent, so nothing to be created exists already

    def acquire(self) -> bool:
        """Take the right to send; False when another process has it."""
        if not self._lock.acquire():
            return False
        self._load()
        return True

    def release(self) -> None:
        self._lock.release()

    def _load(self) -> None:
        try:
            state = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return
        if state.get("address") != self._address:
            return
        self.offset, self.ids = int(state["offset"]), dict(state["ids"])
        self.steps, self.answers = dict(state["steps"]), dict(state["answers"])
        self.fresh = False

    def clear(self) -> None:
        """Start again from the first line: the store no longer has what was sent."""
        self.offset, self.ids, self.steps, self.answers = 0, {}, {}, {}

    def save(self) -> None:
        """The state as it is now, renamed into place."""
        state = {
            "address": self._address,
            "offset": self.offset,
            "ids": self.ids,
            "steps": self.steps,
            "answers": self.answers,
        }
        write_atomic(self._path, json.dumps(state).encode())
