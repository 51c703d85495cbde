"""The lease of a loop's controller: a file lock within a host, a heartbeat between hosts."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from recsys.errors import InputError
from recsys.io import FileLock, write_atomic
from recsys.types import JsonObject

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10.0
WATCH_SECONDS = 2.5 * HEARTBEAT_SECONDS


class LoopLease:
    """Held in a ``with`` block. ``flock`` excludes processes of one host; between hosts, where a network file
    system may not support it, the newest heartbeat does, which expires after LEASE_SECONDS.

    Clocks of two hosts may differ, and be set: a lease of another host that has expired, or that would last
    longer than any lease, is watched for WATCH_SECONDS, and taken over only if it is not renewed in them."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        host: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = folder / "lease.json"
        self._lock = FileLock(folder / "lease.lock")
        self._clock = clock
        self._host = host or socket.gethostname()
        self._sleep = sleep
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> LoopLease:
        """Acquire the lease. Raises InputError where another controller holds it."""
        lease = read_lease(self._path)
        if not self._lock.acquire():
            raise InputError(f"a controller (process {lease.get('pid', '?')}) has this loop already")
        if lease and lease["host"] != self._host and (seconds := self._seconds_of_another(lease)) > 0:
            self._lock.release()
            raise InputError(
                f"a controller on {lease['host']} has this loop; its lease ends in {seconds:.0f} s unless it "
                "is renewed"
            )
        self._renew()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._path.unlink(missing_ok=True)
        self._lock.release()

    def _seconds_of_another(self, lease: JsonObject) -> float:
        """For how long another host's ``lease`` still holds, 0 for one that is abandoned."""
        seconds: float = lease["expires"] - self._clock()
        if 0 < seconds <= LEASE_SECONDS:
            return seconds
        self._sleep(WATCH_SECONDS)
        return LEASE_SECONDS if read_lease(self._path) != lease else 0.0

    def _renew(self) -> None:
        row = {"host": self._host, "pid": os.getpid(), "expires": self._clock() + LEASE_SECONDS}
        write_atomic(self._path, json.dumps(row).encode())

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._renew()
            except OSError:
                continue  # a full disk: the lock still holds on this host


def read_lease(path: Path) -> JsonObject:
    """Host, process and expiry of the holder, {} without one."""
    try:
        lease: JsonObject = json.loads(path.read_text())
        return lease if {"host", "pid", "expires"} <= lease.keys() else {}
    except (OSError, ValueError):
        return {}
