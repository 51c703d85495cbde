"""The log file of all processes of a server, and a console that follows its warnings and errors.

A record is one line (``2026-11-28 10:00:00 ERROR serving.events 4711: text``), followed by an indented
traceback. A repeated message is written at most once a minute, with the number of repetitions.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

FORMAT = "%(asctime)s %(levelname)s %(name)s %(process)d: %(message)s"
DATES = "%Y-%m-%d %H:%M:%S"
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (WARNING|ERROR|CRITICAL) ")
REPEAT_SECONDS = 60.0  # between two records of one message of a process
CONSOLE_LINES = 20  # a minute; the file has the others
POLL_SECONDS = 0.5
CHUNK_BYTES = 1 << 20


class OnceAMinute(logging.Filter):
    """Passes a message once in ``REPEAT_SECONDS``, with the number of those suppressed since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last_written: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        since, suppressed = self._last_written.get(key, (-REPEAT_SECONDS, 0))
        if now - since < REPEAT_SECONDS:
            self._last_written[key] = (since, suppressed + 1)
            return False
        self._last_written[key] = (now, 0)
        if suppressed:
            record.msg, record.args = (
                f"{record.getMessage()} (and {suppressed} times more since the last line)",
                (),
            )
        return True


class LogFileHandler(logging.handlers.WatchedFileHandler):
    """Appends to a file that other processes share and that may be rotated; only its owner can read it.
    Records that cannot be written are dropped: a full disk fails no request."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, delay=True, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter(FORMAT, DATES))
        self.addFilter(OnceAMinute())

    def _open(self) -> IO[str]:  # type: ignore[override]
        descriptor = os.open(self.baseFilename, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def format(self, record: logging.LogRecord) -> str:
        first, *rest = super().format(record).split("\n")
        return "\n    ".join([first, *rest])

    def handleError(self, record: logging.LogRecord) -> None:
        """Drops the record."""


def log_to_file(path: Path) -> None:
    """Log this process's warnings and errors, and serving's own messages, to ``path``; to stderr where the
    file cannot be opened."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    logging.getLogger("serving").setLevel(logging.INFO)
    try:
        handler: logging.Handler = LogFileHandler(path)
    except OSError:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(FORMAT, DATES))
    root.addHandler(handler)


class ConsoleFollower:
    """Prints the first line of new warnings and errors in the log file, at most CONSOLE_LINES a minute."""

    def __init__(
        self,
        path: Path,
        *,
        show: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._show, self._clock = path, show, clock
        self._offset, self._inode = self._end()
        self._minute, self._printed = clock(), 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)

    def start(self) -> None:
        """Follow the file in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after a last poll."""
        self._stop.set()
        self._thread.join(5)

    def poll(self) -> None:
        """Print new records. Never raises: an unreadable log does not stop a server."""
        try:
            end, inode = self._end()
            if inode != self._inode or end < self._offset:  # rotated away, or emptied
                self._offset, self._inode = 0, inode
            if end <= self._offset:
                return
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read(CHUNK_BYTES)
        except OSError:
            return
        lines = text[: text.rfind(b"\n") + 1] or (text if len(text) == CHUNK_BYTES else b"")
        self._offset += len(lines)
        for line in lines.decode("utf-8", "replace").splitlines():
            if RECORD.match(line):
                self._print(line)

    def _print(self, line: str) -> None:
        now = self._clock()
        if now - self._minute >= 60:
            self._minute, self._printed = now, 0
        self._printed += 1
        if self._printed <= CONSOLE_LINES:
            self._show(line)
        elif self._printed == CONSOLE_LINES + 1:
            self._show(f"more of this is in {self._path}")

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.poll()
        self.poll()

    def _end(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_size, status.st_ino
