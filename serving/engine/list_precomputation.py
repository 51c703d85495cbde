"""Every known user's list of a release, computed ahead and stored for ``stored_lists.py``.

The folder is named by release and rules: another release or other rules have another one. A run that was cut
short goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from recsys.errors import InputError
from recsys.io import write_atomic
from recsys.release.candidates import FIXED_CANDIDATES_SCHEMA
from recsys.release.queries import Query
from serving.catalogue.rule_set import RuleSet, rules_json
from serving.engine.served_release import ServedRelease
from serving.engine.stored_lists import (
    ARRAYS,
    DONE,
    FORMAT,
    LENGTH,
    READY,
    SOURCES,
    TEXT,
    StoredLists,
    array_shape,
    open_lists,
)

BATCH = 32  # users computed together
LOCK = "lock"  # held by the process that makes the lists
NEXT = "next.json"  # the first user that is not stored yet
FLUSH_BATCHES = 64


def lists_folder(base: Path, release_id: str, rules: RuleSet) -> Path:
    """The folder of one release's lists under ``rules``."""
    text = json.dumps([FORMAT, rules_json(rules)], sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return base / f"{release_id[:24]}-{digest}"


def precompute(
    loaded: ServedRelease,
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    core_share: float = 1.0,
) -> StoredLists:
    """Every user's list, computed and stored; what an earlier run has stored stays.

    Args:
        loaded: the release, with its rules.
        folder: as ``lists_folder`` names it.
        progress: called with the users that are done and all users.
        core_share: of one core that may be used; the rest of the time is slept.

    Raises:
        InputError: an older release, whose lists depend on their length.
        BlockingIOError: another process is making these lists.
    """
    users = len(loaded.release.users)
    if loaded.release.manifest.schema_version < FIXED_CANDIDATES_SCHEMA:
        raise InputError(
            f"{loaded.spec} is of schema {loaded.release.manifest.schema_version}: its lists depend on their "
            f"length and cannot be stored; pack it again with this version (schema "
            f"{FIXED_CANDIDATES_SCHEMA} or newer)"
        )
    existing = open_lists(folder, users)
    if existing is not None:
        return existing
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        arrays = {name: _array(folder / f"{name}.npy", name, users) for name in ARRAYS}
        _compute(loaded, folder, arrays, progress, core_share)
        done = {"users": users, "release_id": loaded.release_id}
        write_atomic(folder / DONE, json.dumps(done).encode())
    stored = open_lists(folder, users)
    assert stored is not None, folder
    return stored


def _compute(
    loaded: ServedRelease,
    folder: Path,
    arrays: dict[str, NDArray[Any]],
    progress: Callable[[int, int], None] | None,
    core_share: float,
) -> None:
    """Fills ``arrays`` and the file of JSON from the first user on that is not stored yet."""
    users, mark = len(loaded.release.users), folder / NEXT
    start = _next_user(mark)
    with (folder / TEXT).open("ab") as text:
        text.truncate(int(arrays["ends"][start - 1]) if start else 0)
        end = text.seek(0, os.SEEK_END)
        for first in range(start, users, BATCH):
            worked = time.process_time()
            rows = range(first, min(first + BATCH, users))
            queries = [Query(user=user, count=LENGTH) for user in rows]
            for user, answer in zip(rows, loaded.recommender.recommend(queries, loaded.rules), strict=True):
                if answer.fallback:
                    raise InputError(
                        f"user row {user} of {loaded.spec} has no list of its own: {answer.fallback}"
                    )
                listed = answer.recommendations
                arrays["items"][user] = -1
                arrays["items"][user, : len(listed)] = [item.item for item in listed]
                arrays["scores"][user, : len(listed)] = [item.score for item in listed]
                arrays["stars"][user, : len(listed)] = [item.predicted_rating for item in listed]
                arrays["sources"][user] = SOURCES.index(answer.source)
                end += text.write(to_json(loaded.listed(listed[:READY])))
                arrays["ends"][user] = end
            if first // BATCH % FLUSH_BATCHES == FLUSH_BATCHES - 1:
                _flush(arrays, text, mark, rows.stop)
            if progress is not None:
                progress(rows.stop, users)
            if core_share < 1:
                time.sleep((time.process_time() - worked) * (1 / core_share - 1))
        _flush(arrays, text, mark, users)


def table(loaded: ServedRelease, stored: StoredLists, count: int) -> Iterator[dict[str, list[object]]]:
    """Columns of user_id, rank, item_id, score and predicted_rating, some thousand users at a time."""
    names, items = loaded.release.users.names, loaded.release.items.ids.names
    for first in range(0, len(names), 2_000):
        columns: dict[str, list[object]] = {
            name: [] for name in ("user_id", "rank", "item_id", "score", "predicted_rating")
        }
        for user in range(first, min(first + 2_000, len(names))):
            for rank, item in enumerate(stored.get(user, count).recommendations, start=1):
                columns["user_id"].append(str(names[user]))
                columns["rank"].append(rank)
                columns["item_id"].append(str(items[item.item]))
                columns["score"].append(item.score)
                columns["predicted_rating"].append(item.predicted_rating)
        yield columns


def _array(path: Path, name: str, users: int) -> NDArray[Any]:
    shape = array_shape(name, users)
    try:
        array = np.lib.format.open_memmap(path, mode="r+")
        if array.shape == shape and array.dtype == ARRAYS[name]:
            return array
    except (OSError, ValueError):
        pass
    (path.parent / NEXT).unlink(missing_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=ARRAYS[name], shape=shape)


def _next_user(mark: Path) -> int:
    try:
        return int(json.loads(mark.read_text()))
    except (OSError, ValueError, TypeError):
        return 0


def _flush(arrays: dict[str, NDArray[Any]], text: BinaryIO, mark: Path, user: int) -> None:
    """On disk before the mark says so."""
    text.flush()
    os.fsync(text.fileno())
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
    write_atomic(mark, json.dumps(user).encode())
