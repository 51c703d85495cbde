"""The search as a process of its own, which a killed controller finds again.

It runs in its own session; the shell around it leaves its exit code in a file, so that whoever comes next
knows how it ended. A run folder that is there already is gone on with (``--resume``).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.io import write_atomic
from recsys.types import JsonObject

ENTRY = Path(__file__).resolve().parents[2] / "search" / "breakthrough.py"
LAST_LINES, LINE_BYTES = 5, 4_000
# $0 is the file of the exit code: written whole, then renamed; a signal is the search's, not the shell's.
SHELL = 'trap : TERM; "$@"; code=$?; echo "$code" > "$0.part" && mv "$0.part" "$0"; exit "$code"'


@dataclass(frozen=True)
class SearchProcess:
    """One cycle's search in ``folder``: ``run/`` is its run folder, ``search.log`` what it printed."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def start(self, command: Sequence[str], *, number: int) -> None:
        """Start ``command`` as the ``number``-th try unless that one runs or has ended."""
        if self.exit_code(number) is not None or self.alive(number):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "search.log").open("ab") as log:
            started = subprocess.Popen(
                ["/bin/sh", "-c", SHELL, str(self._code(number).absolute()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=ENTRY.parents[1],
            )
        row = {"pid": started.pid, "since": _started(started.pid)}
        write_atomic(self._pid(number), json.dumps(row).encode())

    def exit_code(self, number: int) -> int | None:
        """Of the ``number``-th try; None while it runs, or where it never started."""
        try:
            return int(self._code(number).read_text())
        except (OSError, ValueError):
            return None

    def end(self, number: int) -> None:
        """Ask it to end (SIGTERM to its session): it leaves what it has."""
        if self.alive(number):
            os.killpg(self._read_pid(number)["pid"], signal.SIGTERM)

    def last_lines(self) -> str:
        """Of what it printed, on one line."""
        try:
            with (self.folder / "search.log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LINE_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return " | ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:])

    def results(self) -> JsonObject:
        """results.json of the run, {} where there is none."""
        try:
            found: JsonObject = json.loads((self.run / "results.json").read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError):
            return {}

    def _code(self, number: int) -> Path:
        return self.folder / f"exit-code-{number}"

    def _pid(self, number: int) -> Path:
        return self.folder / f"process-{number}.json"

    def _read_pid(self, number: int) -> JsonObject:
        try:
            found: JsonObject = json.loads(self._pid(number).read_text())
            return found
        except (OSError, ValueError):
            return {}

    def alive(self, number: int) -> bool:
        """Whether the ``number``-th try runs: that process, not another one under its id."""
        held = self._read_pid(number)
        return bool(held) and _started(held["pid"]) == held["since"] is not None


def search_command(
    process: SearchProcess,
    *,
    data: str,
    start_from: Path,
    plan: str,
    usd: float,
    hours: float,
    price_usd: float = 0.0,
    cluster: str | None = None,
    options: Sequence[str] = (),
) -> list[str]:
    """The command line of search/breakthrough.py: a new run, or on with the one that is there."""
    words = [sys.executable, str(ENTRY), "--out", str(process.run.absolute())]
    if (process.run / "run.json").is_file():
        words += ["--resume"]
    else:
        words += ["--data", data, "--start-from", str(start_from), "--plan", plan]
        words += [
            "--max-cost",
            f"{usd:g}",
            "--max-hours",
            f"{hours:g}",
            "--price",
            f"{price_usd:g}",
            *options,
        ]
    return words if cluster is None else [*words, "--cluster", str(Path(cluster).absolute()), "--yes"]


def _started(pid: int) -> int | None:
    """When a process began, in the kernel's ticks since boot; None where it is gone (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
