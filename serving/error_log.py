"""One log file for all processes of a server, and the command's console that shows what goes wrong in it.

A record is one line (``2026-11-28 10:00:00 ERROR serving.events 4711: text``), a traceback follows indented.
The same complaint is written once a minute at most, with how often it came since.
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
REPEAT_SECONDS = 60.0  # between two records of the same complaint of a process
CONSOLE_LINES = 20  # a minute; beyond them the file has the rest
POLL_SECONDS = 0.5
CHUNK_BYTES = 1 << 20


class OnceAMinute(logging.Filter):
    """Passes a complaint once in ``REPEAT_SECONDS``, with the number that was held back since."""

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
    """Appends to a file that other processes append to as well and that may be rotated away; only its owner
    reads it. What cannot be written is dropped: a full disk ends no request."""

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
    """Sends this process's warnings and errors, and what serving itself reports, to ``path``.

    A file that cannot be opened is left out: stderr has the records then, as without it.
    """
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
    """Prints the first line of each warning and error that reaches the log file, so many a minute."""

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
        self._thread.start()

    def stop(self) -> None:
        """Ends after a last reading."""
        self._stop.set()
        self._thread.join(5)

    def poll(self) -> None:
        """Prints what is new. Never raises: a log that cannot be read is no reason to end a server."""
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
