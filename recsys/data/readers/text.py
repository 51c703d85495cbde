"""Ratings from delimited text, at the speed of the disk: u.data (tabs), ratings.dat (``::``), CSV and kin.

The file is cut into blocks of whole lines. A block that parses as typed columns, a row a line, costs nothing
more; one that does not is cut into records again, so that every line is known by its number and reason.
Whole-number ids are read as numbers while every one of them is written plainly (007 and 7 are two ids).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from recsys.data.readers.columns import Columns, described
from recsys.data.readers.containers import open_table
from recsys.data.readers.csv_records import BLANKS, Dialect, OpenQuote, split_records
from recsys.data.readers.ids import BadLines, EncodedIds, IdReading, RawRatings, encode_integers, encode_text
from recsys.data.readers.numbers import ACCEPTED, COMMA, ratings_of
from recsys.data.readers.sniff import NAMES_OF, Head, check_header, is_number, read_head
from recsys.data.readers.times import times_from
from recsys.errors import InputError

BLOCK = 1 << 25  # bytes; larger gains nothing, smaller costs threads their work
TEXT_ID = pa.dictionary(pa.int32(), pa.string())
PLAIN_INTEGER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
SHOWN = 80  # characters of a bad line
Progress = Callable[[str, float], None]


class NotPlainIntegers(Exception):
    """An id is not a whole number in its plain form: ids are read as text."""


def read_text(
    path: Path,
    *,
    columns: Columns,
    names: Sequence[str] | None = None,
    separator: str | None = None,
    header: bool = True,
    progress: Progress | None = None,
) -> RawRatings:
    """All ratings of ``path``.

    Args:
        path: The table, perhaps UTF-16, gzipped or zipped.
        columns: Which column holds what; None is looked for.
        names: Column names of a file without a header line.
        separator: None is looked for.
        header: False where the first line is a rating already.
        progress: Called with a stage and the share done.

    Raises:
        InputError: The file is empty, cut short, no text, has no such columns, or a quote swallows lines.
    """
    head = read_head(path, names=names, separator=separator, header=header)
    if names is None and header:
        check_header(path, head, columns)
    resolved = columns.resolve(head.names, where=str(path))
    reading = IdReading(
        kind="text table",
        encoding=head.encoding,
        separator=NAMES_OF[head.dialect.separator],
        header="none" if head.header_lines == 0 else ", ".join(head.names),
        columns=described(head.names, columns, resolved),
    )
    integers = plain_integers(head, resolved)
    notes: tuple[str, ...] = ()
    while True:
        table = TableReader(path, head, resolved, integer_ids=integers)
        try:
            raw = table.read(progress)
        except NotPlainIntegers:
            integers = False
        except OpenQuote as quote:
            if head.dialect.separator not in ("\t", "|"):
                raise InputError(
                    f"{path}, line {quote.line}: a quote opens here and is not closed before the "
                    "ratings on the lines after it; close it, or write it twice where it is part of the text"
                ) from None
            notes = (
                f"quotes are read as plain characters: one opens in line {quote.line} and does not close",
            )
            head = replace(head, dialect=Dialect(head.dialect.separator, quoted=False))
        else:
            return replace(raw, reading=reading, header=head.names, notes=(*raw.notes, *notes))


def plain_integers(head: Head, columns: Columns) -> bool:
    """Whether the sample's ids are all whole numbers without leading zeros."""
    at = [head.names.index(name) for name in (columns.user, columns.item) if name is not None]
    ids = [row[index].strip() for row in head.sample for index in at if index < len(row)]
    return bool(ids) and sum(bool(PLAIN_INTEGER.fullmatch(text)) for text in ids) > 0.9 * len(ids)


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in pieces that end where a line ends."""
    while piece := file.read(BLOCK):
        yield piece + file.readline()


class TableReader:
    """One pass over a file: ids, values and times gathered block by block."""

    def __init__(self, path: Path, head: Head, columns: Columns, *, integer_ids: bool) -> None:
        self.path = path
        self.head = head
        self.dialect = head.dialect
        self.integer_ids = integer_ids
        names = [columns.user, columns.item, columns.rating, columns.timestamp]
        self.roles = tuple(name for name in names if name is not None)
        self.at = [head.names.index(name) for name in self.roles]
        self.bad = BadLines()
        self.blank = 0
        self.gathered: list[list[Any]] = [[] for _ in self.roles]
        self.rows = 0
        id_type = pa.int32() if integer_ids else TEXT_ID
        kinds = [id_type, id_type, pa.float32(), self.time_type()]
        self.types = {f"c{at}": kind for at, kind in zip(self.at, kinds, strict=False)}
        self.names = [f"c{at}" for at in range(len(head.names))]
        ratings = [row[self.at[2]].strip() for row in head.sample if self.at[2] < len(row)]
        commas = sum(bool(COMMA.fullmatch(text)) for text in ratings)
        self.decimal = "," if commas and self.dialect.separator != "," else "."

    def time_type(self) -> pa.DataType:
        if len(self.roles) < 4:
            return pa.int64()
        texts = [row[self.at[3]].strip() for row in self.head.sample if self.at[3] < len(row)]
        texts = [text for text in texts if text]
        if all(text.lstrip("-").isdigit() for text in texts):
            return pa.int64()
        return pa.float64() if all(map(is_number, texts)) else TEXT_ID

    def read(self, progress: Progress | None) -> RawRatings:
        size = max(self.path.stat().st_size, 1)
        line = 1 + self.head.header_lines
        done, rest, last = 0, b"", b""
        with open_table(self.path) as (file, _):
            for _ in range(self.head.header_lines):
                done += len(file.readline())
            ahead = next(pieces := blocks(file), None)
            while ahead is not None:
                block, ahead = rest + ahead, next(pieces, None)
                done += len(block) - len(rest)
                line, rest = self.read_block(block, line, final=ahead is None)
                last = block
                if progress:
                    progress("reading", min(1.0, done / size))
        if self.rows == 0 and self.bad.count == 0:
            raise InputError(f"{self.path}: no ratings in it; expected lines of {', '.join(self.head.names)}")
        skipped = np.concatenate(self.bad.skipped) if self.bad.skipped else np.zeros(0, dtype=np.int64)
        notes = self.check_end(last, last_line=line - 1, skipped=skipped)
        if self.blank:
            notes = (*notes, f"{self.blank:,} empty lines")
        users, items = self.ids(0), self.ids(1)
        values = self.column(2, np.float32)
        times = None
        if len(self.roles) > 3:
            times = times_from(self.times(), where=f"{self.path}, column {self.roles[3]!r}")
        return RawRatings(
            where=str(self.path),
            users=users,
            items=items,
            values=values,
            times=None if times is None else times.seconds,
            first_line=1 + self.head.header_lines,
            bad=self.bad.counts,
            skipped=skipped,
            examples=tuple(self.bad.examples),
            notes=notes,
            time_unit="" if times is None else times.unit,
            whole_ids=self.integer_ids,
        )

    def column(self, role: int, kind: type) -> NDArray[Any]:
        """One array of a column's pieces, which are released, so that at most one column is held twice."""
        pieces, self.gathered[role] = self.gathered[role], []
        whole: NDArray[Any] = np.concatenate(pieces) if pieces else np.zeros(0, dtype=kind)
        return whole

    def ids(self, role: int) -> EncodedIds:
        if self.integer_ids:
            return encode_integers(self.column(role, np.int32))
        pieces, self.gathered[role] = self.gathered[role], []
        return encode_text(pieces)

    def times(self) -> Any:
        """All times: numbers where every piece holds numbers, else text."""
        pieces, self.gathered[3] = self.gathered[3], []
        if not pieces:
            return np.zeros(0, dtype=np.int64)
        if all(isinstance(piece, np.ndarray) for piece in pieces):
            return np.concatenate(pieces)
        texts = [pd.Series(piece, dtype=object) for piece in map(as_objects, pieces)]
        return pd.concat(texts, ignore_index=True)

    def read_block(self, block: bytes, line: int, *, final: bool) -> tuple[int, bytes]:
        """Take in a block that begins at ``line``; the next line, and the bytes to be read again with it."""
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        table = self.parse(block)
        if table is not None and table.num_rows == lines and self.take_table(block, table):
            return line + lines, b""
        return self.read_records(block, line, final=final)

    def parse(self, block: bytes) -> pa.Table | None:
        """The block as typed columns; None where it does not parse as such."""
        separator = self.dialect.separator
        if separator in ("::", BLANKS):
            if (b"\t" in block and separator == "::") or (b'"' in block and separator == BLANKS):
                return None
            if separator == "::":
                block = block.replace(b"::", b"\t")
            else:
                block = re.sub(rb"[ \t]+", b"\t", re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", block))
            separator = "\t"
        quoted = self.dialect.quoted and b'"' in block
        if quoted and block.count(b'"') % 2:
            return None
        if b"\0" in block:
            raise InputError(f"{self.path}: holds NUL bytes: not a whole text table; copy it again")
        if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
            return None
        try:
            return arrow_csv.read_csv(
                pa.BufferReader(block),
                read_options=arrow_csv.ReadOptions(column_names=self.names),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=separator, quote_char='"' if quoted else False, ignore_empty_lines=True
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=self.types,
                    include_columns=list(self.types),
                    null_values=[""],
                    strings_can_be_null=True,
                    decimal_point=self.decimal,
                ),
            )
        except pa.ArrowInvalid:
            return None

    def take_table(self, block: bytes, table: pa.Table) -> bool:
        """Gather typed columns; False where a row is not whole."""
        columns = [table[name] for name in self.types]
        if any(column.null_count for column in columns[:3]):
            return False
        values = columns[2].to_numpy()
        if not np.isfinite(values).all():
            return False
        if self.integer_ids:
            ids = [column.to_numpy() for column in columns[:2]]
            if any(len(column) and column.min() < 0 for column in ids) or leading_zero(block):
                raise NotPlainIntegers
        else:
            ids = [column.combine_chunks().cast(TEXT_ID) for column in columns[:2]]
            if any(not name.strip() for column in ids for name in flat_labels(column)):
                return False
        times: list[Any] = []
        if len(columns) > 3:
            column = columns[3]
            if pa.types.is_dictionary(column.type):
                times = [column.combine_chunks()]
            elif column.null_count and pa.types.is_integer(column.type):
                times = [column.fill_null(np.iinfo(np.int64).min).to_numpy()]
            else:
                times = [column.to_numpy()]
                if times[0].dtype.kind == "f" and np.isinf(times[0]).any():
                    return False
        for gathered, piece in zip(self.gathered, [*ids, values, *times], strict=True):
            gathered.extend(piece.chunks if isinstance(piece, pa.ChunkedArray) else [piece])
        self.rows += len(values)
        return True

    def read_records(self, block: bytes, line: int, *, final: bool) -> tuple[int, bytes]:
        """The block record by record, every line accounted for."""
        text = block.decode("utf-8", errors="surrogateescape")
        if text.count("\r") != text.count("\r\n"):
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        width = len(self.names)

        def is_row(fields: list[str]) -> bool:
            return len(fields) == width and self.fault([fields]) == [None]

        try:
            records = split_records(text, self.dialect, is_row=is_row, final=final)
        except OpenQuote as quote:
            raise OpenQuote(line + quote.line) from None
        faults = self.fault(records.fields)
        lines = np.array(records.lines, dtype=np.int64) + line
        good = np.array([fault is None for fault in faults], dtype=np.bool_)
        for reason in dict.fromkeys(fault[0] for fault in faults if fault is not None):
            at = [index for index, fault in enumerate(faults) if fault is not None and fault[0] == reason]
            shown = [(int(lines[index]), faults[index][1]) for index in at[:3]]  # type: ignore[index]
            self.bad.add(reason, len(at), shown)
        without = np.array(records.without, dtype=np.int64) + line
        physical = text.split("\n")
        self.blank += sum(not physical[at].strip(' \t\r,;|"') for at in records.without)
        self.bad.skipped.append(np.sort(np.concatenate([without, lines[~good]])))
        self.gather([fields for fields, fine in zip(records.fields, good, strict=True) if fine])
        used = text[: len(text) - len(records.rest)] if records.rest else text
        count = used.count("\n") + (bool(used) and not used.endswith("\n"))
        return line + count, records.rest.encode("utf-8", errors="surrogateescape")

    def fault(self, rows: list[list[str]]) -> list[tuple[str, str] | None]:
        """For each record what is wrong with it: the reason it counts under, and the line in words."""
        width = len(self.names)
        user, item, rating = self.at[:3]
        faults: list[tuple[str, str] | None] = []
        values = ratings_of([row[rating] if len(row) == width else "" for row in rows])
        for row, value in zip(rows, values.tolist(), strict=True):
            if len(row) != width:
                joined = shown_text((self.dialect.separator).join(row))
                faults.append(("unparsable", f"{len(row)} columns where {width} are expected: {joined}"))
            elif not row[user].strip() or not row[item].strip() or value != value:
                parts = ", ".join(
                    f"{name}={shown_text(row[at]) if row[at].strip() else '(empty)'}"
                    for name, at in zip(self.roles, self.at, strict=True)
                )
                accepted = (
                    f"; the rating is not a number: {ACCEPTED}"
                    if row[rating].strip() and value != value
                    else ""
                )
                faults.append(("unparsable", f"does not parse: {parts}{accepted}"))
            elif not (row[user].isascii() and row[item].isascii()) and escaped(row[user] + row[item]):
                raise InputError(
                    f"{self.path}: ids such as {shown_text(row[user])}, {shown_text(row[item])} "
                    "are not UTF-8 text; save the file as UTF-8"
                )
            else:
                faults.append(None)
        return faults

    def gather(self, rows: list[list[str]]) -> None:
        for role, at in enumerate(self.at):
            texts = [row[at].strip() for row in rows]
            if role < 2 and self.integer_ids:
                if not all(map(PLAIN_INTEGER.fullmatch, texts)):
                    raise NotPlainIntegers
                self.gathered[role].append(np.array(texts, dtype=np.int64).astype(np.int32))
            elif role < 2:
                self.gathered[role].append(pa.array(texts, type=pa.string()).dictionary_encode())
            elif role == 2:
                self.gathered[role].append(ratings_of(texts))
            else:
                self.gathered[role].append(time_piece(texts))
        self.rows += len(rows)

    def check_end(self, last: bytes, *, last_line: int, skipped: NDArray[np.int64]) -> tuple[str, ...]:
        """A last line without its end that does not parse is a file cut short; one that parses, a note."""
        if last.endswith((b"\n", b"\r")):
            return ()
        if len(skipped) and skipped[-1] == last_line and self.bad.count and last.rsplit(b"\n")[-1].strip():
            raise InputError(
                f"{self.path}: cut short: line {last_line} ends in its middle; "
                "copy or download the file again"
            )
        return (f"{self.path.name} does not end with a line break: it may have been cut short",)


def time_piece(texts: list[str]) -> Any:
    """Times of a block as int64 where all are whole numbers or empty, else text."""
    if all(not text or (text.lstrip("-").isdigit() and text.isascii() and len(text) < 19) for text in texts):
        missing = np.iinfo(np.int64).min
        return np.array([int(text) if text else missing for text in texts], dtype=np.int64)
    return pa.array([text.encode("utf-8", "replace").decode() for text in texts], type=pa.string())


def as_objects(piece: Any) -> list[Any]:
    """A piece of the time column as text, None where empty."""
    if not isinstance(piece, np.ndarray):
        return [value or None for value in piece.to_pylist()]
    if piece.dtype.kind == "f":
        return [None if value != value else repr(value) for value in piece.tolist()]
    missing = np.iinfo(np.int64).min
    return [None if value == missing else str(value) for value in piece.tolist()]


def flat_labels(column: pa.Array | pa.ChunkedArray) -> list[str]:
    """Labels of a dictionary column that begin with a blank or are empty."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [
        label for chunk in chunks for label in chunk.dictionary.to_pylist() if not label or label[0].isspace()
    ]


def leading_zero(block: bytes) -> bool:
    """Whether any number in ``block`` is written with a zero before other digits (0.5 is not)."""
    data = np.frombuffer(block, dtype=np.uint8)
    size = 1 << 19
    for start in range(0, len(data), size):
        piece = data[max(0, start - 2) : start + size]
        zero = piece[1:-1] == 48
        zero &= (piece[2:] - 48) < 10
        before = piece[:-2]
        zero &= (before - 48) > 9
        zero &= before != 46
        if zero.any():
            return True
    return bool(len(data) > 1 and data[0] == 48 and 48 <= data[1] <= 57)


def shown_text(text: str) -> str:
    """The text as found, quoted, at most ``SHOWN`` characters, printable anywhere."""
    return repr(text[:SHOWN]).encode("utf-8", "backslashreplace").decode()


def escaped(text: str) -> bool:
    """Whether bytes that are not UTF-8 stand in ``text``."""
    return any("\udc80" <= character <= "\udcff" for character in text)
