"""Columns of a table of items or users as feature columns: numbers, categories, lists and vectors.

A column's kind is known by its values: all numbers (or dates, also as ISO text); text; text with bars, or
lists of words or whole numbers; lists of fractions, or the columns ``name_0`` to ``name_n``. Numbers are
standardised, categories and lists one-hot, vectors centred and scaled to a common length. A missing value is
the mean: 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.feature_cells import cell_value, is_numeric, is_vector
from recsys.errors import InputError

Kind = Literal["number", "category", "list", "vector"]
Cells = Mapping[str, Sequence[object]]
MAX_NAMES = 100  # of a category or a list: the most frequent
MAX_WIDTH = 2048  # of a vector
VECTOR_SIZE = 2.0  # root mean square length of a vector's rows: it weighs as four numbers
LARGEST = 5.0  # standard deviations from the mean at which a number is cut off, and a vector's length
NUMBERED = re.compile(r"(.*\D)(\d+)")


@dataclass(frozen=True)
class FeatureColumn:
    """How one column of a table is encoded.

    Attributes:
        name: The column; of a vector in columns ``e_0`` to ``e_n`` their stem, ``e``.
        kind: What its values are.
        parts: The table's columns that hold it.
        mean: Of a number one value, of a vector ``width``.
        scale: What the centred values are divided by.
        names: Of a category or a list, the values that have a feature.
    """

    name: str
    kind: Kind
    parts: tuple[str, ...]
    mean: tuple[float, ...] = (0.0,)
    scale: float = 1.0
    names: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Feature columns."""
        return len(self.names) if self.kind in ("category", "list") else len(self.mean)


@dataclass(frozen=True)
class FeatureEncoding:
    """The columns of one table, in order. ``notes`` say which were left out, and why."""

    columns: tuple[FeatureColumn, ...]
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Feature columns of all."""
        return sum(column.width for column in self.columns)

    def encode(self, table: Cells, rows: int, *, where: str) -> tuple[NDArray[np.float32], list[str]]:
        """The features of ``rows`` rows.

        Args:
            table: Cells by column; a column that is absent is missing in every row.
            rows: Of the table.
            where: The table's name, for errors.

        Returns:
            (rows, width) float32, and what is odd without being wrong: missing values, unknown names.

        Raises:
            InputError: A vector of another width, or text where a number is due.
        """
        blocks: list[NDArray[np.float32]] = []
        notes: list[str] = []
        for column in self.columns:
            one_column = column.kind == "vector" and column.name in table and column.parts[0] not in table
            parts = (
                (column.name,) if one_column else column.parts
            )  # a vector of several columns may come as a list
            cells = [list(table.get(part, ())) or [None] * rows for part in parts]
            block, missing, unknown = _encoded(column, cells, rows, where)
            blocks.append(block)
            if missing:
                notes.append(f"{column.name}: no value for {missing:,} of {rows:,}, counted as the mean")
            if unknown:
                shown = ", ".join(map(repr, sorted(unknown)[:3]))
                notes.append(
                    f"{column.name}: {shown} {'is' if len(unknown) == 1 else 'are'} not among the "
                    f"{len(column.names)} values learned from, counted as missing"
                )
        stacked = np.concatenate(blocks, axis=1) if blocks else np.zeros((rows, 0))
        return stacked.astype(np.float32), notes


def fit_encoding(table: Cells, *, where: str) -> FeatureEncoding:
    """Learns how each column of ``table`` is encoded.

    Args:
        table: Cells by column, all of one length.
        where: The table's name, for errors.

    Raises:
        InputError: Rows of a vector differ in width, or it is wider than ``MAX_WIDTH``.
    """
    columns: list[FeatureColumn] = []
    notes: list[str] = []
    for name, parts in _grouped(table).items():
        cells = [list(table[part]) for part in parts]
        if len(parts) > 1:
            columns.append(_vector_column(name, parts, _joined(cells), where))
            continue
        values = [cell_value(cell) for cell in cells[0]]
        filled = [value for value in values if value is not None]
        if not filled:
            notes.append(f"{name}: empty, left out")
        elif all(isinstance(value, float) for value in filled):
            numbers = np.array(filled, dtype=np.float64)
            if name.lower().endswith("id") and len(np.unique(numbers)) == len(numbers) > 1:
                notes.append(f"{name}: an id by its name, left out")
            elif numbers.std() > 0:
                mean, scale = (float(numbers.mean()),), float(numbers.std())
                columns.append(FeatureColumn(name, "number", parts, mean, scale))
            else:
                notes.append(f"{name}: the same in every row, left out")
        elif any(isinstance(value, tuple) and is_vector(value) for value in filled):
            columns.append(_vector_column(name, parts, values, where))
        else:
            column, note = _named_column(name, parts, values)
            columns += [] if column is None else [column]
            notes += [note] if note else []
    return FeatureEncoding(tuple(columns), tuple(notes))


def _grouped(table: Cells) -> dict[str, tuple[str, ...]]:
    """Columns by name; ``e_0`` to ``e_n``, all numbers, are one."""
    stems: dict[str, dict[int, str]] = {}
    for name in table:
        if (match := NUMBERED.fullmatch(name)) is not None:
            stems.setdefault(match[1], {})[int(match[2])] = name
    groups: dict[str, tuple[str, ...]] = {}
    for stem, members in stems.items():
        indices = sorted(members)
        contiguous = len(indices) > 1 and indices == list(range(indices[0], indices[0] + len(indices)))
        parts = tuple(members[index] for index in indices)
        if contiguous and indices[0] in (0, 1) and all(is_numeric(table[part]) for part in parts):
            groups[stem.rstrip("_.- ") or stem] = parts
    joined = {part for parts in groups.values() for part in parts}
    return {name: (name,) for name in table if name not in joined} | groups


def _joined(cells: Sequence[Sequence[object]]) -> list[tuple[object, ...] | None]:
    """One tuple a row of a vector's columns; None where a part of it is missing."""
    rows = zip(*[[cell_value(cell) for cell in part] for part in cells], strict=True)
    return [None if any(value is None for value in row) else row for row in rows]


def _vector_column(name: str, parts: tuple[str, ...], values: Sequence[object], where: str) -> FeatureColumn:
    width = next(len(value) for value in values if isinstance(value, tuple)) if any(values) else len(parts)
    if width > MAX_WIDTH:
        raise InputError(f"{where}: {name} has {width} numbers a row, expected at most {MAX_WIDTH}")
    matrix, _ = _vectors(name, values, width, where)
    filled = matrix[np.array([value is not None for value in values], dtype=np.bool_)]
    mean = filled.mean(axis=0) if len(filled) else np.zeros(width)
    size = float(np.sqrt(np.square(filled - mean).sum(axis=1).mean())) if len(filled) else 0.0
    scale = size / VECTOR_SIZE if size > 0 else 1.0
    return FeatureColumn(name, "vector", parts, tuple(map(float, mean)), scale)


def _vectors(
    name: str, values: Sequence[object], width: int, where: str
) -> tuple[NDArray[np.float64], list[int]]:
    """(rows, width), and the rows that have none; InputError for another width."""
    matrix, missing = np.zeros((len(values), width)), []
    for row, value in enumerate(values):
        numbers = np.zeros(0)
        if isinstance(value, tuple):
            try:
                numbers = np.array(value, dtype=np.float64)
            except (TypeError, ValueError):
                raise InputError(
                    f"{where}, row {row + 1}: {name} is {value!r}, expected {width} numbers"
                ) from None
        elif value is not None:
            numbers = np.full(1, np.nan)
        if value is not None and len(numbers) != width:
            raise InputError(
                f"{where}, row {row + 1}: {name} has {len(numbers)} numbers, expected {width}: all vectors "
                "of a column, and those learned from, have one width"
            )
        if len(numbers) == width and np.isfinite(numbers).all():
            matrix[row] = numbers
        else:
            missing.append(row)
    return matrix, missing


def _named_column(
    name: str, parts: tuple[str, ...], values: Sequence[object]
) -> tuple[FeatureColumn | None, str]:
    """A category, or a list where any value is one; None where names hardly ever come twice."""
    filled = [value for value in values if value is not None]
    counts = Counter(label for value in filled for label in set(_names(value)))
    common = [label for label, count in counts.most_common(MAX_NAMES) if count > 1]
    if not common or 2 * len(counts) > len(filled) > 2 * MAX_NAMES:
        return None, f"{name}: {len(counts):,} different values in {len(filled):,} rows, left out"
    kind: Kind = "list" if any(isinstance(value, tuple) for value in filled) else "category"
    note = ""
    if len(common) == MAX_NAMES < sum(count > 1 for count in counts.values()):
        note = f"{name}: the {MAX_NAMES} most frequent of {len(counts):,} values are features"
    return FeatureColumn(name, kind, parts, names=tuple(sorted(common))), note


def _names(value: object) -> list[str]:
    parts = value if isinstance(value, tuple) else (value,)
    return [
        f"{part:g}" if isinstance(part, float) else str(part).strip() for part in parts if part is not None
    ]


def _encoded(
    column: FeatureColumn, cells: Sequence[Sequence[object]], rows: int, where: str
) -> tuple[NDArray[np.float32], int, set[str]]:
    """(rows, width), the number of missing values, and names that have no feature."""
    if column.kind == "vector":
        values = [cell_value(cell) for cell in cells[0]] if len(cells) == 1 else _joined(cells)
        matrix, missing_rows = _vectors(column.name, values, column.width, where)
        centred = (matrix - np.array(column.mean)) / column.scale
        centred[missing_rows] = 0
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        centred *= np.minimum(1, LARGEST * VECTOR_SIZE / np.maximum(lengths, 1e-9))
        return centred.astype(np.float32), len(missing_rows), set()
    values = [cell_value(cell) for cell in cells[0]]
    missing = sum(value is None for value in values)
    block = np.zeros((rows, column.width), dtype=np.float32)
    if column.kind == "number":
        for row, value in enumerate(values):
            if value is not None:
                if not isinstance(value, float):
                    raise InputError(f"{where}, row {row + 1}: {column.name} is {value!r}, expected a number")
                block[row, 0] = np.clip((value - column.mean[0]) / column.scale, -LARGEST, LARGEST)
        return block, missing, set()
    indices = {label: index for index, label in enumerate(column.names)}
    unknown: set[str] = set()
    for row, value in enumerate(values):
        for label in [] if value is None else _names(value):
            if label in indices:
                block[row, indices[label]] = 1
            else:
                unknown.add(label)
    return block, missing, unknown
