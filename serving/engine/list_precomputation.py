"""Every known user's list of a release, computed ahead and stored for ``stored_lists.py``.

The folder is named by release and rules: another release or other rules have another one. A run that was cut
short goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.release.queries import Query
from recsys.release.recommender import FIXED_SINCE
from serving.catalogue.rule_set import RuleSet, rules_json
from serving.engine.served_release import ServedRelease
from serving.engine.stored_lists import ARRAYS, DONE, LENGTH, SOURCES, StoredLists, open_lists

BATCH = 32  # users computed together
NEXT = "next.json"  # the first user that is not stored yet
FLUSH_BATCHES = 64


def lists_folder(base: Path, release_id: str, rules: RuleSet) -> Path:
    """The folder of one release's lists under ``rules``."""
    text = json.dumps(rules_json(rules), sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return base / f"{release_id[:24]}-{digest}"


def precompute(
    loaded: ServedRelease, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> StoredLists:
    """Every user's list, computed and stored; what an earlier run has stored stays.

    Raises:
        InputError: an older release, whose lists depend on their length.
    """
    users = len(loaded.release.users)
    if loaded.release.manifest.schema_version < FIXED_SINCE:
        raise InputError(
            f"{loaded.spec} is of schema {loaded.release.manifest.schema_version}: its lists depend on their "
            f"length and cannot be stored; pack it again with this version (schema {FIXED_SINCE} or newer)"
        )
    existing = open_lists(folder, users)
    if existing is not None:
        return existing
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: _array(folder / f"{name}.npy", name, users) for name in ARRAYS}
    mark = folder / NEXT
    for first in range(_next_user(mark), users, BATCH):
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
        if first // BATCH % FLUSH_BATCHES == FLUSH_BATCHES - 1:
            _flush(arrays, mark, rows.stop)
        if progress is not None:
            progress(rows.stop, users)
    _flush(arrays, mark, users)
    (folder / DONE).write_text(json.dumps({"users": users, "release_id": loaded.release_id}))
    stored = open_lists(folder, users)
    assert stored is not None, folder
    return stored


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


def _array(path: Path, name: str, users: int) -> NDArray[np.generic]:
    shape = (users,) if name == "sources" else (users, LENGTH)
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


def _flush(arrays: dict[str, NDArray[np.generic]], mark: Path, user: int) -> None:
    """On disk before the mark says so."""
    for array in arrays.values():
        if isinstance(array, np.memmap):
            array.flush()
    part = mark.with_suffix(".part")
    part.write_text(json.dumps(user))
    part.replace(mark)
