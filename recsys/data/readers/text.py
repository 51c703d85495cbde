"""Ratings from delimited text: u.data (tabs), ratings.dat (``::``) and CSV, at the speed of the disk.

The file is cut into blocks of whole lines. A block that parses as typed columns costs nothing more; one
that does not is read again as text, so that every bad line is known by its number and reason.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

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

BLOCK = 1 << 25  # bytes; larger gains nothing, smaller costs threads their work
TEXT_ID = pa.dictionary(pa.int32(), pa.string())
Progress = Callable[[str, float], None]


def read_text(
    path: Path,
    *,
    columns: Columns,
    names: Sequence[str] | None = None,
    separator: str = ",",
    integer_ids: bool = False,
    progress: Progress | None = None,
) -> RawRatings:
    """All ratings of ``path``. Without ``names`` the first line is the header; ``integer_ids`` is the
    fast way for MovieLens's own files. ``InputError`` where the file is empty, cut short or has no
    such columns."""
    header_lines = 0
    if names is None:
        names, header_lines = header_of(path, separator), 1
    found = columns.resolve(names, where=str(path))
    assert found.user is not None
    assert found.item is not None
    assert found.rating is not None
    reader = BlockReader(
        where=str(path),
        names=tuple(names),
        roles=tuple(name for name in (found.user, found.item, found.rating, found.timestamp) if name),
        separator="\t" if separator == "::" else separator,
        integer_ids=integer_ids,
    )
    parts: list[list[Any]] = [[], [], [], []]
    size, done, line = max(path.stat().st_size, 1), 0, 1 + header_lines
    last = b""
    for block in blocks(path, skip_lines=header_lines):
        done += len(block)
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        last = block
        if separator == "::":
            block = block.replace(b"::", b"\t")
        for part, column in zip(parts, reader.read(block, first_line=line, lines=lines), strict=False):
            part.append(column)
        line += lines
        if progress:
            progress("reading", min(1.0, done / size))
    if line == 1 + header_lines:
        raise InputError(f"{path}: no ratings in it; expected lines of {', '.join(names)}")
    skipped = np.concatenate(reader.bad.skipped) if reader.bad.skipped else np.zeros(0, dtype=np.int64)
    notes = check_end(path, last, last_line=line - 1, skipped=skipped)
    return RawRatings(
        where=str(path),
        users=keys(parts, 0, integer_ids),
        items=keys(parts, 1, integer_ids),
        values=joined(parts, 2),
        times=joined(parts, 3) if found.timestamp else None,
        first_line=1 + header_lines,
        unparsable=reader.bad.count,
        skipped=skipped,
        examples=tuple(reader.bad.examples),
        notes=notes,
    )


def header_of(path: Path, separator: str) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline()
    header = next(
        csv.reader([line.replace("::", "\t")], delimiter="\t" if separator == "::" else separator), []
    )
    if not header:
        raise InputError(f"{path}: the file is empty; expected a header line and ratings")
    return header


def separator_of(path: Path) -> str:
    """The separator of a user's own CSV, by its header line."""
    with path.open("rb") as file:
        header = file.readline(1 << 16).decode("utf-8-sig", errors="replace")
    counts = {mark: header.count(mark) for mark in (",", "\t", ";", "|", "::")}
    best = max(counts, key=lambda mark: counts[mark] * len(mark))
    return best if counts[best] else ","


def blocks(path: Path, *, skip_lines: int) -> Iterator[bytes]:
    """The file after its first ``skip_lines`` lines, in pieces that end where a line ends."""
    with path.open("rb") as file:
        for _ in range(skip_lines):
            file.readline()
        while piece := file.read(BLOCK):
            yield piece + file.readline()


def joined(parts: list[list[Any]], column: int) -> NDArray[Any]:
    """One array of a column's pieces, which are let go, so that at most one column is held twice."""
    pieces, parts[column] = parts[column], []
    whole: NDArray[Any] = np.concatenate(pieces)
    return whole


def keys(parts: list[list[Any]], column: int, integer_ids: bool) -> EncodedIds:
    if integer_ids:
        return encode_integers(joined(parts, column))
    pieces, parts[column] = parts[column], []
    return encode_text(pieces)


def check_end(path: Path, last: bytes, *, last_line: int, skipped: NDArray[np.int64]) -> tuple[str, ...]:
    """A last line without its end that does not parse is a file cut short; one that parses, a note."""
    if last.endswith(b"\n"):
        return ()
    if len(skipped) and skipped[-1] == last_line:
        raise InputError(
            f"{path}: cut short: line {last_line} ends in its middle; copy or download the file again"
        )
    return (f"{path.name} does not end with a line break: it may have been cut short",)


class BlockReader:
    """Columns of one block after another: user ids, item ids, values, times."""

    def __init__(
        self, *, where: str, names: tuple[str, ...], roles: tuple[str, ...], separator: str, integer_ids: bool
    ) -> None:
        self.where = where
        self.names = names
        self.roles = roles
        self.separator = separator
        self.integer_ids = integer_ids
        self.bad = BadLines()
        user, item, rating, *time = roles
        id_type = pa.int32() if integer_ids else TEXT_ID
        self.fast = {
            user: id_type,
            item: id_type,
            rating: pa.float32(),
            **{name: pa.int64() for name in time},
        }

    def read(self, block: bytes, *, first_line: int, lines: int) -> list[Any]:
        try:
            table = self.parse(block, self.fast)
        except pa.ArrowInvalid:
            return self.read_slowly(block, first_line=first_line, lines=lines)
        if table.num_rows != lines or any(table[name].null_count for name in self.roles[:3]):
            return self.read_slowly(block, first_line=first_line, lines=lines)
        given = [self.ids(table[name]) for name in self.roles[:2]]
        given.append(table[self.roles[2]].to_numpy())
        if len(self.roles) > 3:
            times = table[self.roles[3]]
            given.append(seconds_from(times.to_pandas()) if times.null_count else times.to_numpy())
        return given

    def ids(self, column: pa.ChunkedArray) -> Any:
        return column.to_numpy() if self.integer_ids else column.combine_chunks().cast(TEXT_ID)

    def parse(
        self, block: bytes, types: dict[str, pa.DataType], bad: list[arrow_csv.InvalidRow] | None = None
    ) -> pa.Table:
        def keep(row: arrow_csv.InvalidRow) -> str:
            if bad is None:
                return "error"
            bad.append(row)
            return "skip"

        return arrow_csv.read_csv(
            pa.BufferReader(block),
            read_options=arrow_csv.ReadOptions(column_names=list(self.names), use_threads=bad is None),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.separator, ignore_empty_lines=bad is None, invalid_row_handler=keep
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, include_columns=list(self.roles), strings_can_be_null=True
            ),
        )

    def read_slowly(self, block: bytes, *, first_line: int, lines: int) -> list[Any]:
        """The block as text, every line accounted for."""
        ragged: list[arrow_csv.InvalidRow] = []
        try:
            table = self.parse(block, dict.fromkeys(self.roles, pa.string()), ragged)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.where}: the lines from {first_line} are not UTF-8 text "
                f"with {len(self.names)} columns: {error}"
            ) from None
        gone = np.array([row.number for row in ragged], dtype=np.int64) - 1
        at = np.delete(np.arange(lines), gone)[: table.num_rows]
        text = table.to_pandas()
        blank = text.isna().all(axis=1).to_numpy()
        values = pd.to_numeric(text[self.roles[2]], errors="coerce").to_numpy(dtype=np.float32)
        fine = np.isfinite(values)
        id_columns = []
        for name in self.roles[:2]:
            id_columns.append(self.slow_ids(text[name]))
            fine &= id_columns[-1].notna().to_numpy()
        self.blame(text, at=at + first_line, broken=~fine & ~blank, ragged=ragged, first_line=first_line)
        self.bad.skipped.append(np.sort(np.concatenate([gone, at[~fine]])) + first_line)
        given: list[Any] = [self.slow_keys(column[fine]) for column in id_columns]
        given.append(values[fine])
        if len(self.roles) > 3:
            given.append(seconds_from(text[self.roles[3]][fine]))
        return given

    def slow_ids(self, column: pd.Series[Any]) -> pd.Series[Any]:
        if not self.integer_ids:
            return column
        numbers = pd.to_numeric(column, errors="coerce")
        return numbers.where((numbers % 1 == 0) & (numbers >= 0) & (numbers < 2**31))

    def slow_keys(self, column: pd.Series[Any]) -> Any:
        if self.integer_ids:
            return column.to_numpy().astype(np.int32)
        return pa.array(column.to_numpy(dtype=object), type=pa.string()).dictionary_encode()

    def blame(
        self,
        text: pd.DataFrame,
        *,
        at: NDArray[np.int64],
        broken: NDArray[np.bool_],
        ragged: list[arrow_csv.InvalidRow],
        first_line: int,
    ) -> None:
        """Count what is left out, and say of the first of each kind what is wrong with it."""
        if ragged:
            row = ragged[0]
            lines = np.array([row.number for row in ragged], dtype=np.int64) + first_line - 1
            self.bad.add(
                lines,
                f"{row.actual_columns} columns where {row.expected_columns} are expected: {row.text[:80]!r}",
            )
        if broken.any():
            first = text.iloc[int(np.flatnonzero(broken)[0])]
            shown = ", ".join(
                f"{name}={'' if pd.isna(first[name]) else first[name]!r}" for name in self.roles
            )
            self.bad.add(at[broken], f"does not parse: {shown}")
