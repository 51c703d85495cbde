"""A block of whole lines parsed as typed columns by Arrow: the fast path, which judges nothing.

What does not parse as a row a line is left to the reader of records, which accounts for every line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from recsys.data.readers.csv_records import BLANKS, Dialect
from recsys.errors import InputError

PIECE = 1 << 18  # bytes looked at together: they stay in the cache
TEXT_ID = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class BlockParser:
    """``names`` of all columns; ``types`` of those that are read, by name."""

    path: Path
    dialect: Dialect
    names: Sequence[str]
    types: Mapping[str, pa.DataType]
    decimal: str

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
                read_options=arrow_csv.ReadOptions(column_names=list(self.names)),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=separator, quote_char='"' if quoted else False, ignore_empty_lines=True
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict(self.types),
                    include_columns=list(self.types),
                    null_values=[""],
                    strings_can_be_null=True,
                    decimal_point=self.decimal,
                ),
            )
        except pa.ArrowInvalid:
            return None


def doubtful_labels(column: pa.Array | pa.ChunkedArray) -> list[str]:
    """Labels of a dictionary column that begin with a blank or are empty."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [
        label for chunk in chunks for label in chunk.dictionary.to_pylist() if not label or label[0].isspace()
    ]


def leading_zero(block: bytes) -> bool:
    """Whether any number in ``block`` is written with a zero before other digits (0.5 and 1.05 are not)."""
    data = np.frombuffer(block, dtype=np.uint8)
    for start in range(0, len(data), PIECE):
        piece = data[max(0, start - 2) : start + PIECE]
        zero = (piece[:-2] - 46) > 11  # neither a digit nor the point before it
        zero &= piece[1:-1] == 48
        if zero.any() and (piece[np.flatnonzero(zero) + 2] - 48 < 10).any():
            return True
    return bool(len(data) > 1 and data[0] == 48 and 48 <= data[1] <= 57)


def count_lines(block: bytes) -> int:
    """Physical lines in ``block``, the last one with or without its end."""
    data = np.frombuffer(block, dtype=np.uint8)
    ends = sum(
        int(np.count_nonzero(data[start : start + PIECE] == 10)) for start in range(0, len(data), PIECE)
    )
    return ends + (not block.endswith(b"\n"))
