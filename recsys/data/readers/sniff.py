"""What the first lines of a table say: separator, header or none, and how its numbers are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.data.readers.columns import Columns, looks_like_header
from recsys.data.readers.containers import inner_name, open_table
from recsys.data.readers.csv_records import BLANKS, Dialect, OpenQuote, split_records
from recsys.errors import InputError

SEPARATORS = ("::", "\t", ";", "|", ",")
SAMPLE = 1 << 16
SAMPLE_LINES = 50
MOST_PREAMBLE = 10  # lines before a header that are recognised as such
LEADING_COMMENTS = re.compile(r"\A(?:[#%].*\n|sep=.*\n)+")
POSITIONS = ("user", "item", "rating", "timestamp")
NAMES_OF = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", "::": "::", BLANKS: "blanks"}


@dataclass(frozen=True)
class Head:
    """A table's first record and a sample of what follows. ``header_lines`` physical lines come first."""

    names: tuple[str, ...]
    sample: list[list[str]]
    dialect: Dialect
    encoding: str
    header_lines: int


def read_head(
    path: Path, *, names: Sequence[str] | None = None, separator: str | None = None, header: bool = True
) -> Head:
    """The table's beginning. With ``names`` there is no header line; without ``header`` columns are named
    by position: user, item, rating, timestamp, column5 and so on.

    Raises:
        InputError: The file is empty, or is not text.
    """
    with open_table(path) as (file, encoding):
        data = file.read(SAMPLE)
        is_complete = len(data) < SAMPLE and not file.read(1)
    if not data.strip():
        raise InputError(f"{path}: the file is empty; expected a header line and ratings")
    if b"\0" in data:
        raise InputError(f"{path}: holds NUL bytes: cut off, damaged or not text; copy it again")
    text = data.decode("utf-8", errors="replace")
    if not is_complete and (cut := text.rfind("\n")) >= 0:
        text = text[: cut + 1]
    separator = separator or separator_of(LEADING_COMMENTS.sub("", text))
    dialect = Dialect(separator, quoted=separator != "::")
    records, starts = sample_records(text, dialect)
    if not records:
        raise InputError(f"{path}: no ratings in it; expected lines of user, item, rating")
    if names is not None:
        return Head(tuple(names), records, dialect, encoding, 0)
    if not header:
        width = len(records[0])
        named = [*POSITIONS[:width], *(f"column{at}" for at in range(5, width + 1))]
        return Head(tuple(named), records, dialect, encoding, 0)
    header_lines = starts[1] if len(starts) > 1 else text.count("\n") or 1
    if len(starts) > 1 and not dialect.quoted:
        header_lines = starts[0] + 1
    return Head(
        tuple(name.strip().lstrip("\ufeff") for name in records[0]),
        records[1:],
        dialect,
        encoding,
        header_lines,
    )


def sample_records(text: str, dialect: Dialect) -> tuple[list[list[str]], list[int]]:
    """The first records, and the line each begins at; quotes are literal where one stays open."""
    text = "\n".join(text.split("\n")[: 4 * SAMPLE_LINES])
    try:
        records = split_records(text, dialect, is_row=lambda fields: False, final=False)
    except OpenQuote:
        records = split_records(
            text, Dialect(dialect.separator, quoted=False), is_row=lambda _: False, final=True
        )
    return records.fields[:SAMPLE_LINES], records.lines[:SAMPLE_LINES]


def separator_of(text: str) -> str:
    """The separator that gives the most columns, as many in the header as in the lines after it."""
    best, best_score = ",", (0.0, 0)
    for separator in (*SEPARATORS, BLANKS):
        records, _ = sample_records(text, Dialect(separator, quoted=separator != "::"))
        if not records:
            continue
        widths = [len(record) for record in records]
        if widths[0] < 2 or (separator == BLANKS and widths[0] < 3):
            continue
        same = sum(width == widths[0] for width in widths) / len(widths)
        score = (round(same, 1) if widths[0] >= 3 else same / 2, widths[0])
        if separator == BLANKS and best_score[0] > 0.5:
            continue
        if score > best_score:
            best, best_score = separator, score
    return best


def check_header(path: Path, head: Head, columns: Columns) -> None:
    """InputError where the first line is a rating rather than the columns' names."""
    start = head.names[0].lstrip()
    is_header = looks_like_header(head.names, columns)
    if start.startswith(("{", "<")) or (start.startswith("[") and not is_header):
        kind = "HTML or XML (a login page?)" if start[0] == "<" else "JSON"
        raise InputError(f"{path}: holds {kind}, not a table; write the ratings as CSV or Parquet")
    if is_header:
        return
    for after, row in enumerate(head.sample[:MOST_PREAMBLE], start=1):
        if len(row) >= 3 and looks_like_header([name.strip() for name in row], columns):
            what = "its first line is" if after == 1 else f"its first {after} lines are"
            raise InputError(
                f"{path}: {what} not part of the table: {', '.join(head.names)[:80]!r}; "
                f"the columns' names follow it: remove what stands before them"
            )
    if len(head.names) == 1:
        raise InputError(
            f"{path}: its lines have one column, such as {head.names[0][:80]!r}; expected user, item and "
            f"rating with one of these between: {', '.join(NAMES_OF.values())}"
        )
    if len(head.names) >= 3 and is_number(head.names[2]):
        raise InputError(
            f"{path}: its first line looks like a rating, not like column names: "
            f"{', '.join(head.names)[:80]!r}; where the file has no header, add --header none "
            "(columns are then user, item, rating, timestamp by position)"
        )


def is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)", text.strip()))


def suffix_of(path: Path) -> str:
    return inner_name(path).suffix.lower()
