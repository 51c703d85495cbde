"""What is wrong with a record: the reason it is counted under, and the line in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.data.readers.csv_records import Dialect
from recsys.data.readers.numbers import ACCEPTED, ratings_of
from recsys.errors import InputError

SHOWN = 80  # characters of a bad line


@dataclass(frozen=True)
class RowChecker:
    """``width`` columns are expected; ``at`` are those of ``roles``: user, item, rating, perhaps time."""

    path: Path
    dialect: Dialect
    width: int
    roles: Sequence[str]
    at: Sequence[int]

    def is_row(self, fields: list[str]) -> bool:
        """Whether ``fields`` make a complete rating."""
        return len(fields) == self.width and self.faults([fields]) == [None]

    def faults(self, rows: list[list[str]]) -> list[tuple[str, str] | None]:
        """For each record what is wrong with it: the reason it counts under, and the line in words."""
        width = self.width
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


def shown_text(text: str) -> str:
    """The text as found, quoted, at most ``SHOWN`` characters, printable anywhere."""
    return repr(text[:SHOWN]).encode("utf-8", "backslashreplace").decode()


def escaped(text: str) -> bool:
    """Whether bytes that are not UTF-8 stand in ``text``."""
    return any("\udc80" <= character <= "\udcff" for character in text)
