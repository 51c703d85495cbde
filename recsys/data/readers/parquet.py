"""Ratings from one Parquet file, under the same rules for ids, ratings and times as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.data.readers.columns import Columns, described
from recsys.data.readers.ids import BadLines, EncodedIds, IdReading, RawRatings, encode_integers, encode_text
from recsys.data.readers.numbers import ACCEPTED, ratings_of
from recsys.data.readers.times import times_from
from recsys.errors import InputError
from recsys.types import JsonObject

EXACT_FLOAT = 2**53  # whole numbers beyond it have lost digits in a column of floats


def read_table(path: Path, names: list[str] | None = None) -> pa.Table:
    """The columns of a Parquet file; ``InputError`` where it is none, or is cut short."""
    try:
        return pq.ParquetFile(path).read(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise not_whole(path, error) from None


def not_whole(path: Path, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), "unreadable")
    return InputError(f"{path}: not a whole Parquet file ({reason}); copy or download it again")


def exported_lineage(path: Path) -> JsonObject | None:
    """What `python -m serving data ratings` noted of where the ratings come from; None in other files."""
    try:
        metadata = (pq.read_schema(path).metadata or {}).get(b"lineage")
        lineage: JsonObject | None = None if metadata is None else json.loads(metadata)
        return lineage
    except (pa.ArrowException, OSError, ValueError):
        return None


def read_parquet(path: Path, *, columns: Columns) -> RawRatings:
    """All ratings of a Parquet file, in its order. Lines are row numbers from 1.

    Raises:
        InputError: The file is broken, has no such columns, or ids of a kind that cannot be one.
    """
    try:
        header = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise not_whole(path, error) from None
    resolved = columns.resolve(header, where=str(path))
    wanted = [name for name in (resolved.user, resolved.item, resolved.rating, resolved.timestamp) if name]
    table = read_table(path, list(dict.fromkeys(wanted)))
    if table.num_rows == 0:
        raise InputError(f"{path}: no ratings in it")
    values = values_of(table[wanted[2]])
    fine = np.isfinite(values)
    ids = [plain_column(table[name], where=f"{path}, column {name!r}") for name in wanted[:2]]
    for column in ids:
        fine &= filled(column)
    bad = BadLines()
    if not fine.all():
        lines = np.flatnonzero(~fine) + 1
        shown = [(int(line), describe_row(table.slice(int(line) - 1, 1), wanted)) for line in lines[:3]]
        bad.add("unparsable", len(lines), shown)
        bad.skipped.append(lines)
        keep = pa.array(fine)
        table, values, ids = table.filter(keep), values[fine], [column.filter(keep) for column in ids]
    times = None
    if resolved.timestamp:
        times = times_from(time_column(table[wanted[3]]), where=f"{path}, column {wanted[3]!r}")
    return RawRatings(
        where=str(path),
        users=encode_column(ids[0]),
        items=encode_column(ids[1]),
        values=values,
        times=None if times is None else times.seconds,
        bad=bad.counts,
        skipped=bad.skipped[0] if bad.skipped else np.zeros(0, dtype=np.int64),
        examples=tuple(bad.examples),
        time_unit="" if times is None else times.unit,
        unreadable_time="" if times is None else times.unreadable,
        reading=IdReading(
            kind="Parquet", header=", ".join(header), columns=described(header, columns, resolved)
        ),
        header=tuple(header),
        whole_ids=all(pa.types.is_integer(column.type) for column in ids),
    )


def describe_row(row: pa.Table, names: list[str]) -> str:
    values = row.to_pylist()[0]
    cells = ", ".join(
        f"{name}={'(empty)' if values[name] is None else repr(values[name])[:80]}" for name in names
    )
    return f"does not parse: {cells}; {ACCEPTED} as the rating, and ids that are not empty"


def values_of(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """(n,) float32 ratings; NaN where there is none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64()).to_numpy()
        with np.errstate(over="ignore"):
            return np.asarray(numbers, dtype=np.float32)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ratings_of([text or "" for text in column.to_pylist()])
    return np.full(len(column), np.nan, dtype=np.float32)


def plain_column(column: pa.ChunkedArray, *, where: str) -> pa.ChunkedArray:
    """Ids as integers or text, nulls where empty."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_integer(kind):
        return column
    if pa.types.is_floating(kind):
        numbers = column.cast(pa.float64()).to_numpy()
        known = numbers[np.isfinite(numbers)]
        if len(known) and np.abs(known).max() >= EXACT_FLOAT:
            raise InputError(
                f"{where}: ids are floats beyond 2^53, which have lost digits; write whole numbers or text"
            )
        mask = ~np.isfinite(numbers)
        if (known % 1 == 0).all():
            integers = np.where(mask, 0, numbers).astype(np.int64)
            return pa.chunked_array([pa.array(integers, mask=mask)])
        texts = [
            None if empty else repr(number)
            for number, empty in zip(numbers.tolist(), mask.tolist(), strict=True)
        ]
        return pa.chunked_array([pa.array(texts, type=pa.string())])
    if pa.types.is_nested(kind):
        raise InputError(f"{where}: ids are {kind}; expected whole numbers or text")
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"{where}: ids are {kind}; expected whole numbers or text") from None


def filled(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """(n,) whether each id is there and not blank."""
    valid = np.asarray(pc.is_valid(column).to_numpy(), dtype=np.bool_)
    if pa.types.is_string(column.type):
        lengths = pc.utf8_length(pc.utf8_trim_whitespace(column)).fill_null(0).to_numpy()
        valid = valid & (lengths > 0)
    return valid


def encode_column(column: pa.ChunkedArray) -> EncodedIds:
    """Ids without nulls made dense."""
    if pa.types.is_integer(column.type):
        return encode_integers(column.to_numpy())
    return encode_text([chunk.dictionary_encode() for chunk in column.chunks])


def time_column(column: pa.ChunkedArray) -> pd.Series[Any]:
    """Times as pandas has them; dates and dictionaries made plain."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_integer(kind) and column.null_count:
        return pd.Series(pd.array(column.to_pylist(), dtype="Int64"))  # exact, which floats are not
    series: pd.Series[Any] = column.to_pandas()
    return series
