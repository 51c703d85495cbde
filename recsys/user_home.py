"""A home folder for users who have none: an arbitrary id in a container, a service account.

Ray, MLflow and torch ask for the home folder and the user's name at import, and fail where there is none.
"""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path


def ensure_home(environment: MutableMapping[str, str] = os.environ) -> Path | None:
    """Set HOME and LOGNAME where neither the environment nor the password file knows them.

    Returns:
        The folder that stands in for the home, None where there is one.
    """
    uid = os.getuid()
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        account = None
        if not any(environment.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            environment["LOGNAME"] = f"user-{uid}"
    if environment.get("HOME") or (account is not None and account.pw_dir):
        return None
    base = Path(tempfile.gettempdir())
    folder = base / f"home-{uid}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != uid:  # somebody else's folder of that name
            raise PermissionError
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=f"home-{uid}-"))
    environment["HOME"] = str(folder)
    print(f"note: this user has no home folder; using {folder} (set HOME to keep caches)", file=sys.stderr)
    return folder
