"""Free ports that nobody else gets, and waiting with a deadline that no busy machine misses."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

PATIENCE_SECONDS = 120.0
PORTS = range(20_000, 28_000)  # below the kernel's own choices (32768 on), above Ray's workers (to 19999)


def free_port() -> int:
    """A loopback port where nothing listens. The kernel's own choice could be given to another process's
    connection before it is used; workers of pytest-xdist choose from ranges of their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.SystemRandom().choice(PORTS[worker % 8 * 1_000 :][:1_000])
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for(done: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    """Until ``done()`` is true."""
    end = monotonic() + seconds
    while not done():
        assert monotonic() < end, "it did not come to be in time"
        sleep(0.02)
