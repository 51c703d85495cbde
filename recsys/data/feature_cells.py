"""Cells of feature tables: numbers, dates, texts and lists, whatever the file format wrote them as."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable
from datetime import date

import numpy as np

MISSING = {"", "-", "?", "na", "n/a", "nan", "none", "null", "\\n"}
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][\d:.]+(?:Z|[+-]\d{2}:?\d{2})?)?")


def cell_value(cell: object) -> float | str | tuple[object, ...] | None:
    """The value of a cell of a feature table.

    Args:
        cell: Anything that a CSV file, a Parquet file or JSON holds.

    Returns:
        A number (dates as days), a text, a tuple of either (a list, or text with bars), None where missing.
    """
    if cell is None or isinstance(cell, bool | int | float | np.number):
        number = math.nan if cell is None else float(cell)
        return number if math.isfinite(number) else None
    if isinstance(cell, list | tuple | np.ndarray):
        return tuple(cell) or None
    if hasattr(cell, "toordinal"):
        return float(cell.toordinal())
    text = str(cell).strip()
    if text.lower() in MISSING:
        return None
    if text.startswith("[") and text.endswith("]"):
        try:
            return tuple(json.loads(text)) or None
        except ValueError:
            return text
    if ISO_DATE.fullmatch(text):
        with contextlib.suppress(ValueError):  # no such day
            return float(date.fromisoformat(text[:10]).toordinal())
    try:
        number = float(text)
    except ValueError:
        parts = tuple(part.strip() for part in text.split("|") if part.strip())
        return parts if "|" in text and parts else text
    return number if math.isfinite(number) else None


def is_numeric(cells: Iterable[object]) -> bool:
    """Whether a column holds numbers alone, at least one.

    Args:
        cells: Its cells; missing ones are passed over.
    """
    values = [cell_value(cell) for cell in cells]
    return any(value is not None for value in values) and all(
        value is None or isinstance(value, float) for value in values
    )


def is_vector(value: tuple[object, ...]) -> bool:
    """Whether a cell is a vector: numbers alone, at least one of them a fraction.

    Args:
        value: What ``cell_value`` made of the cell.
    """
    return any(isinstance(part, float) for part in value) and all(
        isinstance(part, int | float | np.number) or part is None for part in value
    )
