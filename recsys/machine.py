"""What this machine allows a process: cores under a container's quota, short folders for sockets, memory.

Plain facts from the operating system, for the places that start Ray.
"""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from recsys.errors import InputError

SOCKET_PATH = 107  # bytes of a Unix socket's path, by the kernel
RAY_SUFFIX = 66  # of them Ray's own: /session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store
CGROUP = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may use: its affinity, under the container's CPU quota."""
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """Cores by the cgroup's quota, version 2 or 1; None without one."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        old = [int((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")]
    except (OSError, ValueError):
        return None
    return old[0] / old[1] if old[0] > 0 and old[1] > 0 else None


def ray_folder(name: str = "ray", environment: Mapping[str, str] = os.environ) -> Path:
    """A folder of this user's for Ray's sessions, short enough for its sockets.

    Raises:
        InputError: No folder is both writable and short.
    """
    configured = environment.get("RAY_TMPDIR")
    candidates = (
        [Path(configured)] if configured else [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    )
    for base in candidates:
        folder = base / f"{name}-{os.getuid()}"
        if len(os.fsencode(folder)) + RAY_SUFFIX > SOCKET_PATH:
            continue
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    most = SOCKET_PATH - RAY_SUFFIX - len(f"/{name}-{os.getuid()}")
    raise InputError(
        f"{', '.join(map(str, candidates))}: none can hold Ray's sockets: expected a writable one "
        f"whose path has at most {most} characters; set RAY_TMPDIR to one"
    )


def object_store_folder(size: int, fallback: Path, shared: Path = SHARED_MEMORY) -> Path | None:
    """Where Ray's object store of ``size`` bytes lies when shared memory is absent or too small.

    Returns:
        ``fallback``, or None where ``/dev/shm`` can hold it.
    """
    try:
        state = os.statvfs(shared)
    except OSError:
        return fallback
    fits = state.f_bavail * state.f_frsize >= size
    return None if fits and os.access(shared, os.W_OK) else fallback


def ensure_ray_token(environment: MutableMapping[str, str] = os.environ) -> None:
    """Give an embedded Ray a token in the environment where it cannot keep one in ``~/.ray``."""
    if environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH"):
        return
    folder = Path(environment.get("HOME") or Path.home()) / ".ray"
    if os.access(folder / "auth_token", os.R_OK):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
