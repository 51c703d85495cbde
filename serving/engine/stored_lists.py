"""Every known user's list of a release, as memory-mapped arrays that the replicas share.

Made by ``precompute.py``. Only whole folders are opened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.release.queries import Recommendation, RecommendationList, RecommendationSource

LENGTH = 100  # items of a list; shorter ones are its beginning
READY = 10  # items of the list that is stored as JSON too
FORMAT = 2  # of the folder; another one is another folder
SOURCES: tuple[RecommendationSource, ...] = ("personal", "popular")
DONE = "done.json"


@dataclass(frozen=True)
class StoredLists:
    """``items`` (users, LENGTH) rows of the release, -1 behind a short list; ``scores`` and ``stars`` beside
    them; ``sources`` (users,) an index into ``SOURCES``; ``text`` (bytes,) the first READY of all users as
    they stand in an answer, of which a user's end at ``ends``."""

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    stars: NDArray[np.float32]
    sources: NDArray[np.int8]
    ends: NDArray[np.int64]
    text: NDArray[np.uint8]

    def items_json(self, user: int) -> bytes:
        """The items of a user's first READY as JSON."""
        begin = int(self.ends[user - 1]) if user else 0
        return self.text[begin : int(self.ends[user])].tobytes()

    def get(self, user: int, count: int) -> RecommendationList:
        """The first ``count`` of a user's list."""
        listed = tuple(
            Recommendation(item, score, star)
            for item, score, star in zip(
                self.items[user, :count].tolist(),
                self.scores[user, :count].tolist(),
                self.stars[user, :count].tolist(),
                strict=True,
            )
            if item >= 0
        )
        return RecommendationList(listed, SOURCES[self.sources[user]])


ARRAYS = {"items": np.int32, "scores": np.float32, "stars": np.float32, "sources": np.int8, "ends": np.int64}
FLAT = ("sources", "ends")  # arrays with one value a user
TEXT = "items.json"


def array_shape(name: str, users: int) -> tuple[int, ...]:
    """The shape of one of ``ARRAYS``."""
    return (users,) if name in FLAT else (users, LENGTH)


def open_lists(folder: Path, users: int) -> StoredLists | None:
    """The lists in ``folder``, None where there are none that are whole and fit ``users``."""
    try:
        if json.loads((folder / DONE).read_text())["users"] != users:
            return None
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        text = np.memmap(folder / TEXT, dtype=np.uint8, mode="r")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if any(
        arrays[name].shape != array_shape(name, users) or arrays[name].dtype != kind
        for name, kind in ARRAYS.items()
    ):
        return None
    return StoredLists(**arrays, text=text) if users and int(arrays["ends"][-1]) == len(text) else None
