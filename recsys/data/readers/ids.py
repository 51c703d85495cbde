"""Ratings as a reader found them: ids made dense, nothing judged yet.

Ids become row numbers at once (4 bytes a rating whatever the id's length), so that 32 million rows
stay under a gigabyte. Rows keep the order of the file, which the official folds need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

MISSING_TIME = np.iinfo(np.int64).min
EXAMPLES = 5


@dataclass(frozen=True)
class EncodedIds:
    """``rows`` (n,) int32 into ``ids`` (k,) unicode; ids in numeric order where all are whole numbers."""

    rows: NDArray[np.int32]
    ids: NDArray[np.str_]


@dataclass
class BadLines:
    """Lines left out so far: how many, where, and the first few in words."""

    count: int = 0
    skipped: list[NDArray[np.int64]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def add(self, lines: NDArray[np.int64], example: str) -> None:
        if len(lines) and len(self.examples) < EXAMPLES:
            self.examples.append(f"line {lines[0]}: {example}")
        self.count += len(lines)


@dataclass(frozen=True)
class RawRatings:
    """``values`` (n,) float32 stars; ``times`` (n,) int64 Unix seconds, ``MISSING_TIME`` where there is
    none. ``skipped`` are the line numbers, ascending, that gave no row; the first row is ``first_line``.
    """

    where: str
    users: EncodedIds
    items: EncodedIds
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    first_line: int = 1
    unparsable: int = 0
    skipped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def line_of(self, row: int) -> int:
        """The file's line (1 is the first) that became ``row``."""
        line = self.first_line + row
        return line + int(np.searchsorted(self.skipped - np.arange(len(self.skipped)), line, side="right"))


def encode_integers(ids: NDArray[Any]) -> EncodedIds:
    """Dense rows for whole-number ids, in numeric order."""
    if len(ids) == 0:
        return EncodedIds(np.zeros(0, dtype=np.int32), np.zeros(0, dtype="<U1"))
    low, high = int(ids.min()), int(ids.max())
    if high - low > 50_000_000:
        found, rows = np.unique(ids, return_inverse=True)
        return EncodedIds(rows.astype(np.int32), found.astype(np.str_))
    offsets = ids if low == 0 else ids - low
    present = np.zeros(high - low + 1, dtype=np.bool_)
    present[offsets] = True
    found = np.flatnonzero(present)
    lookup = np.zeros(len(present), dtype=np.int32)
    lookup[found] = np.arange(len(found), dtype=np.int32)
    return EncodedIds(lookup[offsets], (found + low).astype(np.str_))


def encode_text(chunks: list[pa.Array]) -> EncodedIds:
    """Dense rows for dictionary-encoded text ids that may be spread over many chunks, no nulls."""
    unified = pa.chunked_array(chunks).unify_dictionaries()
    if len(unified) == 0:
        return EncodedIds(np.zeros(0, dtype=np.int32), np.zeros(0, dtype="<U1"))
    labels = unified.chunk(unified.num_chunks - 1).dictionary.to_pylist()
    codes = np.concatenate(
        [chunk.indices.to_numpy().astype(np.int32, copy=False) for chunk in unified.chunks]
    )
    names = np.array(labels, dtype=np.str_)
    used = np.flatnonzero(np.bincount(codes, minlength=len(names)))
    order = used[id_order(names[used])]
    lookup = np.zeros(len(names), dtype=np.int32)
    lookup[order] = np.arange(len(order), dtype=np.int32)
    return EncodedIds(lookup[codes], names[order])


def id_order(ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Row order of ids: numeric where all are plain whole numbers, else alphabetical."""
    if len(ids) and np.char.isdecimal(ids).all() and np.char.str_len(ids).max() <= 18:
        return np.lexsort((ids, ids.astype(np.int64)))
    return np.argsort(ids, kind="stable")


def seconds_from(column: pd.Series[Any]) -> NDArray[np.int64]:
    """Unix seconds from numbers or dates in text; ``MISSING_TIME`` where empty, -1 where not a time."""
    if pd.api.types.is_datetime64_any_dtype(column):
        numbers = column.to_numpy(dtype="datetime64[s]").astype(np.int64)
        return np.where(column.isna().to_numpy(), MISSING_TIME, numbers)
    given = pd.to_numeric(column, errors="coerce")
    odd = given.isna() & column.notna()
    seconds = np.where(given.isna(), -1, given.fillna(0)).astype(np.int64)
    if odd.any():
        dates = pd.to_datetime(column[odd], errors="coerce", utc=True, format="ISO8601")
        known = dates.notna().to_numpy()
        places = np.flatnonzero(odd.to_numpy())[known]
        seconds[places] = dates[known].dt.tz_localize(None).to_numpy(dtype="datetime64[s]").astype(np.int64)
    seconds[column.isna().to_numpy()] = MISSING_TIME
    return seconds
