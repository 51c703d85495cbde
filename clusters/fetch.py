"""A run folder, from the head to this machine: again and again while the search runs, and verified at the
end.

rsync checks each file as it comes and replaces it at once. The last fetch brings the release first, then the
trials, then the checkpoints, so that what there is no time for is worth least; and it compares SHA-256 of
every file on both sides, so that "fetched" means equal.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from clusters.bootstrap_cluster import BASE, CODE
from clusters.cluster_errors import ClusterFailed, SshFailed
from clusters.provider import Log
from clusters.ssh import Ssh

T = TypeVar("T")
CHECKPOINTS = ("checkpoint*", ".*.part", "*.part")  # rsync patterns of a trial's large files
Part = Literal["release", "small", "all"]
EXCLUDED: dict[Part, tuple[str, ...]] = {"release": ("/*/",), "small": CHECKPOINTS, "all": ()}
WRITTEN_HERE = ("/tracking/***", "/cluster_bill.json", ".rsync-partial/***")  # never deleted by a fetch
RETRY_SECONDS = 5.0
LEAST_SECONDS = 10.0  # of one try, however little is left


def remote_run(run: str) -> str:
    return f"{CODE}/runs/{run}"


def fetch(
    head: Ssh, run: str, out: Path, *, timeout: float = 600, by_content: bool = False, part: Part = "all"
) -> bool:
    """One rsync; False while the run folder does not exist there yet.

    What is gone there is deleted here, but for what only this machine writes. Part "release" is that and the
    files beside it; "small" is all but checkpoints: each can be a gigabyte, and a search whose head is lost
    goes on from what is small.
    """
    path = remote_run(run)
    quoted = shlex.quote(path)
    there = head.run(f"test -d {quoted} || echo no; test -e {quoted}/plan.yaml && echo plan; true")
    if "no" in there:
        return False
    head.pull(
        path,
        out,
        timeout=timeout,
        by_content=by_content,
        only=("/release/***",) if part == "release" else (),
        less=EXCLUDED[part],
        delete_except=WRITTEN_HERE if "plan" in there else None,
    )
    return True


def verify(head: Ssh, run: str, out: Path, *, timeout: float = 600) -> int:
    """Compare SHA-256 of every file on both sides; the number of files.

    Raises:
        ClusterFailed: a file differs or is missing here.
    """
    command = f"cd {shlex.quote(remote_run(run))} && find . -type f -print0 | xargs -0 -r sha256sum -z"
    there = {}
    for line in head.run(command, timeout=timeout).split("\0"):
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


def fetch_last(
    head: Ssh, run: str, out: Path, *, log: Log, until: float | None = None, tries: int = 3
) -> bool:
    """The last fetch: results and release first, then what else is small, then all of it, verified.

    A connection that breaks is tried again until `until` (seconds since the epoch; by default half an hour
    from now), and goes on from the bytes that have come. False where there is nothing to fetch.

    Raises:
        SshFailed: no way through until then. ClusterFailed: files differ after `tries` fetches.
    """
    end = time.time() + 1800 if until is None else until

    def remaining() -> float:
        return max(LEAST_SECONDS, min(600.0, end - time.time()))

    with heartbeat(head):
        first: tuple[Part, ...] = ("release", "small")
        for part in first:
            if not _persist(partial(fetch, head, run, out, part=part), remaining, end, log):
                return False
        for attempt in range(tries):
            _persist(partial(fetch, head, run, out, by_content=True), remaining, end, log)
            try:
                count = _persist(partial(verify, head, run, out), remaining, end, log)
                log(f"fetched and verified {count} files into {out}")
                return True
            except SshFailed:
                raise
            except ClusterFailed:
                if attempt == tries - 1:
                    raise
    return False


def _persist(work: Callable[..., T], remaining: Callable[[], float], until: float, log: Log) -> T:
    """Call ``work(timeout=left())`` until SSH lets it through; its last failure once no time is left."""
    reported = False
    while True:
        try:
            return work(timeout=remaining())
        except SshFailed as problem:
            if time.time() + RETRY_SECONDS >= until:
                raise
            if not reported:
                log(f"fetching goes on where it broke ({problem})")
            reported = True
            time.sleep(RETRY_SECONDS)


@contextmanager
def heartbeat(head: Ssh) -> Iterator[None]:
    """Tell the guard in the pod that somebody is there, for as long as the block runs."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.is_set():
            with suppress(ClusterFailed):  # the fetch itself reports a broken connection
                head.run(f"touch {BASE}/heartbeat")
            stop.wait(30)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


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
                if fetch(self.head, self.run, self.out, part="small") and self.after:
                    self.after(self.out)
                trouble = ""
            except (SshFailed, OSError) as problem:
                if not trouble:
                    self.log(f"fetching will be tried again ({problem})")
                trouble = str(problem)
                time.sleep(min(5.0, self.every))
