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
import pyarrow as pa
from numpy.typing import NDArray

from recsys.data.readers.columns import Columns, described
from recsys.data.readers.containers import open_table
from recsys.data.readers.csv_records import Dialect, OpenQuote, split_records
from recsys.data.readers.ids import BadLines, EncodedIds, IdReading, RawRatings, encode_integers, encode_text
from recsys.data.readers.numbers import COMMA, ratings_of
from recsys.data.readers.row_faults import RowChecker
from recsys.data.readers.sniff import NAMES_OF, Head, check_header, read_head
from recsys.data.readers.time_pieces import joined_times, time_piece, time_type
from recsys.data.readers.times import times_from
from recsys.data.readers.typed_block import TEXT_ID, BlockParser, count_lines, doubtful_labels, leading_zero
from recsys.errors import InputError

BLOCK = 1 << 25  # bytes; larger gains nothing, smaller costs threads their work
PLAIN_INTEGER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
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
        kinds = [id_type, id_type, pa.float32(), time_type(self.sample_of(3))]
        self.types = {f"c{at}": kind for at, kind in zip(self.at, kinds, strict=False)}
        commas = any(map(COMMA.fullmatch, self.sample_of(2)))
        self.parser = BlockParser(
            path,
            head.dialect,
            names=[f"c{at}" for at in range(len(head.names))],
            types=self.types,
            decimal="," if commas and head.dialect.separator != "," else ".",
        )
        self.checker = RowChecker(path, head.dialect, len(head.names), self.roles, self.at)

    def sample_of(self, role: int) -> list[str]:
        """A column's first values; none where the table has no such column."""
        if role >= len(self.roles):
            return []
        at = self.at[role]
        return [row[at].strip() for row in self.head.sample if at < len(row)]

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
            written, self.gathered[3] = self.gathered[3], []
            times = times_from(joined_times(written), where=f"{self.path}, column {self.roles[3]!r}")
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
            unreadable_time="" if times is None else times.unreadable,
            whole_ids=self.integer_ids,
        )

    def column(self, role: int, kind: type) -> NDArray[Any]:
        """One array of a column's pieces, which are released, so that at most one column is held twice."""
        pieces, self.gathered[role] = self.gathered[role], []
        joined: NDArray[Any] = np.concatenate(pieces) if pieces else np.zeros(0, dtype=kind)
        return joined

    def ids(self, role: int) -> EncodedIds:
        if self.integer_ids:
            return encode_integers(self.column(role, np.int32))
        pieces, self.gathered[role] = self.gathered[role], []
        return encode_text(pieces)

    def read_block(self, block: bytes, line: int, *, final: bool) -> tuple[int, bytes]:
        """Take in a block that begins at ``line``; the next line, and the bytes to be read again with it."""
        lines = count_lines(block)
        table = self.parser.parse(block)
        if table is not None and table.num_rows == lines and self.take_table(block, table):
            return line + lines, b""
        return self.read_records(block, line, final=final)

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
            if any(not name.strip() for column in ids for name in doubtful_labels(column)):
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
        if final:
            text = text.removesuffix("\x1a")  # DOS's end of file
        if text.count("\r") != text.count("\r\n"):
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        try:
            records = split_records(text, self.dialect, is_row=self.checker.is_row, final=final)
        except OpenQuote as quote:
            raise OpenQuote(line + quote.line) from None
        faults = self.checker.faults(records.fields)
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
        if last.removesuffix(b"\x1a").endswith((b"\n", b"\r")):
            return ()
        if len(skipped) and skipped[-1] == last_line and self.bad.count and last.rsplit(b"\n")[-1].strip():
            raise InputError(
                f"{self.path}: cut short: line {last_line} ends in its middle; "
                "copy or download the file again"
            )
        return (f"{self.path.name} does not end with a line break: it may have been cut short",)
