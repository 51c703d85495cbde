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


class LoopLease:
    """Held in a ``with`` block. ``flock`` excludes processes of one host; between hosts, where a network file
    system may not support it, the newest heartbeat does, which expires after LEASE_SECONDS."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        host: str = "",
    ) -> None:
        self._path = folder / "lease.json"
        self._lock = FileLock(folder / "lease.lock")
        self._clock = clock
        self._host = host or socket.gethostname()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> LoopLease:
        """Acquire the lease. Raises InputError where another controller holds it."""
        lease = read_lease(self._path)
        if not self._lock.acquire():
            raise InputError(f"a controller (process {lease.get('pid', '?')}) has this loop already")
        if lease and lease["host"] != self._host and lease["expires"] > self._clock():
            self._lock.release()
            raise InputError(
                f"a controller on {lease['host']} has this loop; its lease ends in "
                f"{lease['expires'] - self._clock():.0f} s unless it is renewed"
            )
        self._renew()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._path.unlink(missing_ok=True)
        self._lock.release()

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
