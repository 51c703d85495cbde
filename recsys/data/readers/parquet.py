"""Ratings from one Parquet file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.readers.columns import Columns
from recsys.data.readers.ids import (
    BadLines,
    EncodedIds,
    RawRatings,
    encode_integers,
    encode_text,
    seconds_from,
)
from recsys.errors import InputError


def read_table(path: Path, names: list[str] | None = None) -> pa.Table:
    """The columns of a Parquet file; ``InputError`` where it is none, or is cut short."""
    try:
        return pq.read_table(path, columns=names)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a whole Parquet file ({reason}); copy or download it again") from None


def read_parquet(path: Path, *, columns: Columns) -> RawRatings:
    """All ratings of a Parquet file, in its order. Lines are row numbers from 1."""
    try:
        header = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a whole Parquet file ({reason}); copy or download it again") from None
    found = columns.resolve(header, where=str(path))
    wanted = [name for name in (found.user, found.item, found.rating, found.timestamp) if name]
    table = read_table(path, wanted)
    if table.num_rows == 0:
        raise InputError(f"{path}: no ratings in it")
    values = pd.to_numeric(table[wanted[2]].to_pandas(), errors="coerce").to_numpy(dtype=np.float32)
    fine = np.isfinite(values)
    for name in wanted[:2]:
        if table[name].null_count:
            fine &= pc.is_valid(table[name]).to_numpy()
    bad = BadLines()
    if not fine.all():
        lines = np.flatnonzero(~fine) + 1
        bad.add(lines, f"does not parse: {table.slice(int(lines[0]) - 1, 1).to_pylist()[0]}")
        bad.skipped.append(lines)
        table, values = table.filter(pa.array(fine)), values[fine]
    return RawRatings(
        where=str(path),
        users=keys_from_column(table[wanted[0]], where=f"{path}, column {wanted[0]!r}"),
        items=keys_from_column(table[wanted[1]], where=f"{path}, column {wanted[1]!r}"),
        values=values,
        times=seconds_from(table[wanted[3]].to_pandas()) if found.timestamp else None,
        unparsable=bad.count,
        skipped=bad.skipped[0] if bad.skipped else np.zeros(0, dtype=np.int64),
        examples=tuple(bad.examples),
    )


def keys_from_column(column: pa.ChunkedArray, *, where: str) -> EncodedIds:
    """Keys from a column of whole numbers (also ones that pandas made floats) or text, no nulls."""
    kind = column.type
    if pa.types.is_floating(kind):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            raise InputError(f"{where}: ids are fractions; expected whole numbers or text") from None
    if pa.types.is_integer(column.type):
        return encode_integers(column.to_numpy())
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    try:
        text = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{where}: ids are {kind}; expected whole numbers or text") from None
    return encode_text([chunk.dictionary_encode() for chunk in text.chunks])
