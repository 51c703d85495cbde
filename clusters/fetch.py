"""A run folder, from the head to this machine: again and again while the search runs, and verified at the
end.

rsync checks each file as it comes and replaces it at once; the last fetch compares SHA-256 of every file on
both sides, so that "fetched" means equal.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
import time
from collections.abc import Callable
from pathlib import Path

from clusters.bootstrap_cluster import CODE
from clusters.errors import ClusterFailed, SshFailed
from clusters.provider import Log
from clusters.ssh import Ssh


def remote_run(run: str) -> str:
    return f"{CODE}/runs/{run}"


def fetch(head: Ssh, run: str, out: Path, *, timeout: float = 600, by_content: bool = False) -> bool:
    """One rsync; False while the run folder does not exist there yet."""
    path = remote_run(run)
    if "yes" not in head.run(f"test -d {shlex.quote(path)} && echo yes || echo no"):
        return False
    head.pull(path, out, timeout=timeout, by_content=by_content)
    return True


def verify(head: Ssh, run: str, out: Path) -> int:
    """Compare SHA-256 of every file on both sides; the number of files.

    Raises:
        ClusterFailed: a file differs or is missing here.
    """
    command = f"cd {shlex.quote(remote_run(run))} && find . -type f -print0 | xargs -0 -r sha256sum -z"
    there = {}
    for line in head.run(command, timeout=600).split("\0"):
        if line:
            digest, name = line.split("  ", 1)
            there[name] = digest
    wrong = [name for name, digest in there.items() if _digest(out / name) != digest]
    if wrong:
        raise ClusterFailed(f"{len(wrong)} of {len(there)} files differ after fetching, {wrong[0]} first")
    return len(there)


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_last(head: Ssh, run: str, out: Path, *, log: Log, tries: int = 3) -> bool:
    """The last fetch, verified; what changed under it is fetched again. False where there is nothing."""
    for attempt in range(tries):
        if not fetch(head, run, out, by_content=True):
            return False
        try:
            log(f"fetched and verified {verify(head, run, out)} files into {out}")
            return True
        except ClusterFailed:
            if attempt == tries - 1:
                raise
    return False


class Fetcher:
    """Fetches in its own thread every so often, so that the log is not held up by a large file."""

    def __init__(
        self, head: Ssh, run: str, out: Path, *, every: float, log: Log, after: Callable[[Path], None] | None
    ) -> None:
        self.head, self.run, self.out, self.every, self.log, self.after = head, run, out, every, log, after
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Fetcher:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(timeout=60)

    def _loop(self) -> None:
        trouble = ""
        while not self.stop.wait(self.every):
            try:
                if fetch(self.head, self.run, self.out) and self.after:
                    self.after(self.out)
                trouble = ""
            except (SshFailed, OSError) as problem:
                if not trouble:
                    self.log(f"fetching will be tried again ({problem})")
                trouble = str(problem)
                time.sleep(min(5.0, self.every))
