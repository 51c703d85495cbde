"""Lists of people with new ratings, passed between the replicas of a machine: one folds in, all answer.

A file of slots addressed by content: a slot's key is a digest of all that makes a list (release, rules, row,
ratings, length), so that a list never goes out of date and nobody has to withdraw it. Slots overwrite each
other, and a checksum tells a torn one: whatever cannot be read is computed again. Read and written by
position, not mapped, so that a full disk is an error and not the end of the process.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from hashlib import blake2b
from pathlib import Path

import numpy as np

from recsys.release.queries import Query, Recommendation, RecommendationList, RecommendationSource
from serving.engine.served_release import ServedRelease

SLOTS = 8192
SLOT_BYTES = 1024
DIGEST_BYTES = 16
HEAD = struct.Struct(f"<I{DIGEST_BYTES}sI")  # CRC-32 of the rest, digest, items
ITEMS = np.dtype([("item", "<i4"), ("score", "<f8"), ("stars", "<f8")])
SOURCE: RecommendationSource = "folded_in"  # of all lists here
MOST_ITEMS = (SLOT_BYTES - HEAD.size) // ITEMS.itemsize


class SharedLists:
    """``path`` is the file; replicas that name the same one share their lists. Safe between processes."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):  # lists are computed where they cannot be shared
            self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self.clear()  # another version of the program may have made its own otherwise

    def get(self, loaded: ServedRelease, query: Query) -> RecommendationList | None:
        """The list that some replica has computed for ``query``, a plain one with new ratings."""
        if self._file is None or query.history is None or query.count > MOST_ITEMS:
            return None
        digest = list_digest(loaded, query)
        try:
            slot = os.pread(self._file, SLOT_BYTES, _offset(digest))
        except OSError:
            return None
        if len(slot) < HEAD.size:
            return None
        checksum, written, count = HEAD.unpack_from(slot)
        body = slot[4 : HEAD.size + count * ITEMS.itemsize]
        if written != digest or checksum != zlib.crc32(body):
            return None
        items = np.frombuffer(slot, ITEMS, count, HEAD.size).tolist()
        return RecommendationList(tuple(Recommendation(*item) for item in items), SOURCE)

    def put(self, loaded: ServedRelease, query: Query, answer: RecommendationList) -> None:
        """Passes ``answer`` on if it is what was asked for; nothing happens where that fails."""
        if self._file is None or query.history is None or query.count > MOST_ITEMS:
            return
        if answer.fallback or answer.source != SOURCE:
            return
        digest = list_digest(loaded, query)
        rows = [(item.item, item.score, item.predicted_rating) for item in answer.recommendations]
        body = HEAD.pack(0, digest, len(rows))[4:]
        body += np.array(rows, dtype=ITEMS).tobytes()
        with contextlib.suppress(OSError):
            os.pwrite(self._file, struct.pack("<I", zlib.crc32(body)) + body, _offset(digest))

    def clear(self) -> None:
        """Keeps no list, of any replica."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def list_digest(loaded: ServedRelease, query: Query) -> bytes:
    """What makes a plain list of somebody with new ratings."""
    history = query.history
    assert history is not None, "people without new ratings have stored lists"
    digest = blake2b(loaded.content, digest_size=DIGEST_BYTES)
    user = -1 if query.user is None else query.user
    digest.update(struct.pack("<qqq", user, query.count, len(history.items)))
    digest.update(np.asarray(history.items, dtype="<i4").tobytes())
    digest.update(np.asarray(history.values, dtype="<f4").tobytes())
    return digest.digest()


def _offset(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little") % SLOTS * SLOT_BYTES
