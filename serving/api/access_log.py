"""Access log: one JSON line a request, written by a background thread.

A line has time, request id, route, status and milliseconds, and where they apply user, arm, source and model
version; nothing else about a user. The user is the start of a keyed hash (``recsys.pseudonyms``): it groups
the lines of a user without naming them, so an erasure need not rewrite logs.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from recsys.pseudonyms import pseudonym

MAX_LINES = 50_000  # waiting; beyond them the oldest are dropped
FLUSH_SECONDS = 0.5


class AccessLog:
    """``path`` None writes no log; ``key`` None writes user ids in the clear."""

    def __init__(self, path: Path | None, *, key: bytes | None = None) -> None:
        self._lines: deque[dict[str, Any]] = deque(maxlen=MAX_LINES)
        self._key = key
        self._stop = threading.Event()
        self._path = path
        self._thread: threading.Thread | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def note(self, **line: Any) -> None:
        """Queue a line."""
        if self._path is not None:
            self._lines.append(line)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        if not self._lines or self._path is None:
            return
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        try:
            with self._path.open("ab") as file:
                file.write(b"".join([b"%s\n" % to_json(self._safe(line)) for line in lines]))
        except OSError:
            return  # a full disk must not stop the service

    def _safe(self, line: dict[str, Any]) -> dict[str, Any]:
        if self._key is not None and line.get("user_id"):
            line["user_id"] = pseudonym(str(line["user_id"]), self._key)[:16]
        return line
