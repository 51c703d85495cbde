"""Ids made dense row numbers, and ratings as a reader leaves them: nothing judged yet.

One rule for every file kind: an id is its text without spaces around it; a column that is all n.0 is n.
Ids become row numbers at once (4 bytes a rating whatever the id's length), so that 32 million rows
stay under a gigabyte. Rows keep the order of the file, which the official folds need.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

EXAMPLES = 5
FIRST_OF_KIND = 3
WHOLE_FLOAT = re.compile(r"-?\d+\.0+", re.ASCII)


@dataclass(frozen=True)
class EncodedIds:
    """``rows`` (n,) int32 into ``ids`` (k,) unicode; ids in numeric order where all are whole numbers."""

    rows: NDArray[np.int32]
    ids: NDArray[np.str_]


@dataclass
class BadLines:
    """Lines left out so far, by reason: how many, and the first few in words."""

    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[NDArray[np.int64]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def add(self, reason: str, count: int, examples: list[tuple[int, str]]) -> None:
        """Count ``count`` lines; ``examples`` are (line, what is wrong with it)."""
        before = self.counts.get(reason, 0)
        self.counts[reason] = before + count
        room = max(0, FIRST_OF_KIND - before)
        self.examples += [f"line {line}: {text}" for line, text in examples[:room]]

    @property
    def count(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class IdReading:
    """What a reader understood of a file, in words for people."""

    kind: str = ""
    encoding: str = ""
    separator: str = ""
    header: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawRatings:
    """``values`` (n,) float32 stars; ``times`` (n,) int64 Unix seconds, ``MISSING_TIME`` where there is
    none. ``skipped`` are the line numbers, ascending, that gave no row; the first row is ``first_line``.
    ``bad`` counts the lines that do not parse, by reason. ``whole_ids``: every id is a plain whole number.
    """

    where: str
    users: EncodedIds
    items: EncodedIds
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    first_line: int = 1
    bad: dict[str, int] = field(default_factory=dict)
    skipped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    time_unit: str = ""
    unreadable_time: str = ""  # the first text in the column of times that is none
    reading: IdReading = IdReading()
    header: tuple[str, ...] = ()
    whole_ids: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def distinct(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Each rating that there is, ascending, and how often: both (k,)."""
        unique, counts = np.unique(self.values, return_counts=True)
        return unique, counts

    @property
    def unparsable(self) -> int:
        return sum(self.bad.values())

    def line_of(self, row: int) -> int:
        """The file's line (1 is the first) that became ``row``."""
        line = self.first_line + row
        return line + int(np.searchsorted(self.skipped - np.arange(len(self.skipped)), line, side="right"))


def encode_integers(ids: NDArray[Any]) -> EncodedIds:
    """Dense rows for whole-number ids (n,), in numeric order where none is negative."""
    if len(ids) == 0:
        return EncodedIds(np.zeros(0, dtype=np.int32), np.zeros(0, dtype="<U1"))
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high - low > 50_000_000:
        unique, rows = np.unique(ids, return_inverse=True)
        return ordered(unique.astype(np.str_), rows)
    offsets = ids if low == 0 else ids - ids.dtype.type(low)
    present = np.zeros(high - low + 1, dtype=np.bool_)
    present[offsets] = True
    unique = np.flatnonzero(present)
    lookup = np.zeros(len(present), dtype=np.int32)
    lookup[unique] = np.arange(len(unique), dtype=np.int32)
    labels = unique + low if high < 2**63 else np.array([int(at) + low for at in unique], dtype=np.uint64)
    return EncodedIds(lookup[offsets], labels.astype(np.str_))


def encode_text(chunks: list[pa.Array]) -> EncodedIds:
    """Dense rows for dictionary-encoded text ids that may be spread over many chunks, no nulls."""
    unified = pa.chunked_array(chunks, type=pa.dictionary(pa.int32(), pa.string())).unify_dictionaries()
    if len(unified) == 0:
        return EncodedIds(np.zeros(0, dtype=np.int32), np.zeros(0, dtype="<U1"))
    labels = unified.chunk(unified.num_chunks - 1).dictionary.to_pylist()
    codes = np.concatenate(
        [chunk.indices.to_numpy().astype(np.int32, copy=False) for chunk in unified.chunks]
    )
    used = np.flatnonzero(np.bincount(codes, minlength=len(labels)))
    names = plain_ids([labels[at] for at in used.tolist()])
    lookup = np.zeros(len(labels), dtype=np.int32)
    lookup[used] = np.arange(len(used), dtype=np.int32)
    return ordered(np.array(names, dtype=np.str_), lookup[codes])


def plain_ids(labels: list[str]) -> list[str]:
    """Ids without spaces around them; where all are n.0, n."""
    names = [label.strip() for label in labels]
    if names and all(WHOLE_FLOAT.fullmatch(name) for name in names):
        names = [name.split(".")[0] for name in names]
    return names


def ordered(names: NDArray[np.str_], rows: NDArray[Any]) -> EncodedIds:
    """Row numbers in the order of ids, ``rows`` (n,) being indices into ``names``, which may repeat."""
    unique, same = np.unique(names, return_inverse=True)
    order = id_order(unique)
    lookup = np.zeros(len(unique), dtype=np.int32)
    lookup[order] = np.arange(len(order), dtype=np.int32)
    return EncodedIds(lookup[same][rows], unique[order])


def id_order(ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Row order of ids: numeric where all are plain whole numbers, else alphabetical."""
    if len(ids) and np.char.isdecimal(ids).all():
        digits = np.char.lstrip(ids, "0")
        return np.lexsort((ids, digits, np.char.str_len(digits)))
    return np.argsort(ids, kind="stable")
