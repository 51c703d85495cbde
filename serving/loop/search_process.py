"""The search as a process that outlives its controller.

It runs in its own session and holds a lock while it lives, so that no second one is started, wherever the
controller was killed; a shell around it records its exit code in a file name, for the next controller. An
existing run folder is resumed (``--resume``).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from recsys.types import JsonObject

ENTRY = Path(__file__).resolve().parents[2] / "search" / "breakthrough.py"
LAST_LINES, LINE_BYTES = 5, 4_000
# $0.process contains the session's id and is renamed at the end: a rename works on a full disk. The shell
# ignores SIGTERM, which is for the search.
SHELL = 'echo $$ > "$0.process" || exit 1; trap : TERM; "$@"; code=$?; mv "$0.process" "$0.ended-$code"'


@dataclass(frozen=True)
class SearchProcess:
    """A cycle's search in ``folder``: ``run/`` is its run folder, ``search.log`` its output."""

    folder: Path

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    def start(self, command: Sequence[str], *, number: int) -> None:
        """Start ``command`` as try ``number`` unless that try runs or has ended."""
        if self.exit_code(number) is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock(number).open("ab") as lock, (self.folder / "search.log").open("ab") as log:
            if not _locked(lock):
                return
            subprocess.Popen(
                ["/bin/sh", "-c", SHELL, str(self._try(number).absolute()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=ENTRY.parents[1],
                pass_fds=[lock.fileno()],  # the process inherits the lock
            )

    def exit_code(self, number: int) -> int | None:
        """The exit code of try ``number``; None while it runs, or where it never started."""
        for path in self.folder.glob(f"{self._try(number).name}.ended-*"):
            return int(path.name.rpartition("-")[2])
        return None

    def end(self, number: int) -> None:
        """Send SIGTERM to the session of try ``number``; the search saves what it has."""
        if self.alive(number):
            with contextlib.suppress(OSError, ValueError):  # its id is not written yet, or it has just ended
                os.killpg(int(self.process_file(number).read_text()), signal.SIGTERM)

    def last_lines(self) -> str:
        """The last lines of its output, joined to one."""
        try:
            with (self.folder / "search.log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LINE_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return " | ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:])

    def results(self) -> JsonObject:
        """results.json of the run, {} without one."""
        try:
            results: JsonObject = json.loads((self.run / "results.json").read_text(encoding="utf-8"))
            return results
        except (OSError, ValueError):
            return {}

    def _try(self, number: int) -> Path:
        return self.folder / f"search-{number}"

    def process_file(self, number: int) -> Path:
        """The file with the session id of try ``number``."""
        return self._try(number).with_suffix(".process")

    def _lock(self, number: int) -> Path:
        return self._try(number).with_suffix(".lock")

    def alive(self, number: int) -> bool:
        """Whether try ``number`` runs."""
        try:
            with self._lock(number).open("rb") as lock:
                return not _locked(lock)
        except FileNotFoundError:
            return False


def search_command(
    process: SearchProcess,
    *,
    data: Sequence[str],
    start_from: Path,
    plan: str,
    usd: float,
    hours: float,
    price_usd: float = 0.0,
    cluster: str | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """The command line of search/breakthrough.py for a new run, or to resume an existing one."""
    words = [sys.executable, str(ENTRY), "--out", str(process.run.absolute())]
    if (process.run / "run.json").is_file():
        words += ["--resume"]
    else:
        words += [*data, "--start-from", str(start_from), "--plan", plan, "--max-cost", f"{usd:g}"]
        words += ["--max-hours", f"{hours:g}", "--price", f"{price_usd:g}", *options]
    return words if cluster is None else [*words, "--cluster", str(Path(cluster).absolute()), "--yes"]


def _locked(lock: IO[bytes]) -> bool:
    """Whether the lock was acquired; it is held until every copy of the open file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
