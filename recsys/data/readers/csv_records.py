"""Delimited text cut into records, every physical line accounted for.

The fast parser counts rows only; where its count differs from the number of lines, the block comes here:
a line is a record, a blank, or a part of a quoted field that closes. A quoted field over several lines
whose later lines are ratings themselves is an open quote that swallows rows, and never read as text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, field

BLANKS = " "  # the separator that stands for any run of blanks and tabs
WORD = re.compile(r'"(?:[^"]|"")*"(?=\s|$)|\S+')
MOST_QUOTED = 1 << 26  # characters of one quoted field


@dataclass(frozen=True)
class Dialect:
    """How a table's fields are told apart. ``separator`` "," or "::" or " " (runs of blanks) and so on."""

    separator: str
    quoted: bool = True

    def split(self, line: str) -> list[str]:
        """The fields of a line without quotes."""
        return line.split() if self.separator == BLANKS else line.split(self.separator)


class OpenQuote(Exception):
    """A quote opens in ``line`` (0 is the text's first) and does not close before rows are swallowed."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass
class Records:
    """``fields`` of each record, the line each begins at (0 is the first), and the lines that hold none.

    ``rest`` is the text from an unfinished quote on, to be read again with what follows.
    """

    fields: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    without: list[int] = field(default_factory=list)
    rest: str = ""


def split_records(
    text: str, dialect: Dialect, *, is_row: Callable[[list[str]], bool], final: bool
) -> Records:
    """Records of ``text``, which ends where a line ends.

    Args:
        text: Whole lines.
        dialect: Separator, and whether quotes mean anything.
        is_row: Whether fields make a complete row; such a row inside a quoted field is a swallowed one.
        final: Whether nothing follows ``text``.

    Raises:
        OpenQuote: A quote swallows rows or never closes.
    """
    records = Records()
    position, line, end = 0, 0, len(text)
    while position < end:
        stop = text.find("\n", position)
        stop = end if stop < 0 else stop
        current = text[position:stop].removesuffix("\r")
        used = 1
        if not dialect.quoted or '"' not in current:
            fields = dialect.split(current)
        elif dialect.separator == BLANKS:
            fields = [unquoted(word) for word in WORD.findall(current)]
        elif (plain := quoted_line(current, dialect.separator)) is not None:
            fields = plain
        else:
            record = quoted_record(text, position, dialect.separator)
            if record is None or record.end > stop:
                check_swallowed(text, position, line, dialect, is_row, record)
                if record is None:
                    if final or end - position > MOST_QUOTED:
                        raise OpenQuote(line)
                    records.rest = text[position:]
                    return records
                used = text.count("\n", position, record.end) + 1
                stop = record.end
            fields = record.fields
        if any(map(str.strip, fields)):
            records.fields.append(fields)
            records.lines.append(line)
            records.without.extend(range(line + 1, line + used))
        else:
            records.without.extend(range(line, line + used))
        position, line = stop + 1, line + used
    return records


def quoted_line(line: str, separator: str) -> list[str] | None:
    """The fields of a line whose quotes are all well formed and close in it, at the speed of C; else None."""
    if len(separator) != 1:
        return None
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except (csv.Error, StopIteration):
        return None


@dataclass(frozen=True)
class QuotedRecord:
    """``end`` is where its line feed is; ``torn``: text follows a closing quote directly."""

    fields: list[str]
    end: int
    torn: bool


def quoted_record(text: str, start: int, separator: str) -> QuotedRecord | None:
    """The record that begins at ``start``; None where a quote is still open at the end of the text."""
    fields: list[str] = []
    torn = False
    position = start
    line_end = text.find("\n", position)
    line_end = len(text) if line_end < 0 else line_end
    while True:
        parts: list[str] = []
        if text.startswith('"', position):
            position += 1
            while True:
                close = text.find('"', position)
                if close < 0:
                    return None
                parts.append(text[position:close])
                position = close + 1
                if not text.startswith('"', position):
                    break
                parts.append('"')
                position += 1
            if position > line_end:
                line_end = text.find("\n", position)
                line_end = len(text) if line_end < 0 else line_end
        cut = text.find(separator, position, line_end)
        piece = text[position : line_end if cut < 0 else cut]
        if cut < 0:
            piece = piece.removesuffix("\r")
        torn |= bool(parts) and bool(piece.strip())
        fields.append("".join(parts) + piece)
        if cut < 0:
            return QuotedRecord(fields, line_end, torn)
        position = cut + len(separator)


def check_swallowed(
    text: str,
    start: int,
    line: int,
    dialect: Dialect,
    is_row: Callable[[list[str]], bool],
    record: QuotedRecord | None,
) -> None:
    """Raise OpenQuote where a line after the record's first is a row by itself."""
    if record is not None and record.torn:
        raise OpenQuote(line)
    stop = len(text) if record is None else record.end
    position = text.find("\n", start) + 1
    while 0 < position <= stop and position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        plain = text[position:end].removesuffix("\r").replace('"', "")
        if dialect.separator in plain and is_row(dialect.split(plain)):
            raise OpenQuote(line)
        position = end + 1


def unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] == '"':
        return word[1:-1].replace('""', '"')
    return word
