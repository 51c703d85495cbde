"""Sessions of Ray: folders with megabytes of logs and sockets each, which nobody else deletes.

A session of ours holds a locked file as long as the process that started it lives, however that ends.
Sessions without the file are somebody else's, those whose lock is held are in use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

KEPT = 3  # sessions that have ended, for their logs
LOCK = "recsys.lock"
_held: list[int] = []  # open files of this process's sessions


def keep_session(session: Path) -> None:
    """Marks ``session`` as one of this process, and deletes all but the last that have ended beside it.

    A folder that cannot be written or deleted is left as it is: logs are no reason to fail."""
    try:
        file = os.open(session / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _held.append(file)
        sessions = sorted(lock.parent for lock in session.parent.glob(f"session_*/{LOCK}"))
    except OSError:
        return
    ended = [path for path in sessions if not path.is_symlink() and not _in_use(path / LOCK)]
    for path in ended[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _in_use(lock: Path) -> bool:
    try:
        file = os.open(lock, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False
