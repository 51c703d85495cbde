"""The cache folder: downloaded releases and parsed columns, kept between runs.

``RECSYS_CACHE`` names it; else ``movielens-breakthrough`` in the user's cache folder. What is written
appears whole or not at all: it is made in a temporary folder beside its place and renamed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import InputError

STALE_SECONDS = 86_400  # a temporary folder this old belongs to nobody


def cache_folder(folder: Path | None = None) -> Path:
    """Where the cache lies: ``folder``, the environment's, or the platform's place for one."""
    if folder is not None:
        return folder
    if named := os.environ.get("RECSYS_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "movielens-breakthrough"
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise InputError(
            "this user has no home folder to keep the cache in; set RECSYS_CACHE to a folder"
        ) from None
    return Path(base) / "movielens-breakthrough"


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes ``target`` when the block ends well, and is gone
    otherwise. Where somebody else made ``target`` meanwhile, theirs stays.

    ``InputError`` where the disk is full or may not be written.
    """
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target.parent)
        work = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
        try:
            yield work
            try:
                work.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        free_space = ""
        if folder.exists():
            free_space = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB free there)"
        raise InputError(
            f"{folder}: cannot write to the cache: {error.strerror or error}{free_space}; "
            "make room, or set RECSYS_CACHE to a folder on another disk"
        ) from None


def remove_stale(folder: Path) -> None:
    """Remove temporary folders that a killed run left behind long ago."""
    for path in folder.glob(".tmp-*"):
        try:
            if path.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue
