"""Evaluation of filters on dictionary-encoded columns: each distinct value is tested once.

Values are compared by the type of the item's value: numbers with numbers, text case-insensitively, and of
several values (genres) any. ``=`` and the orders are false for an item without the value; ``!=`` and ``not
in`` are the negations of ``=`` and ``in``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.types import BoolArray
from serving.catalogue.filter_grammar import (
    And,
    Comparison,
    Filter,
    Literal,
    Membership,
    Not,
    Or,
    Presence,
    Test,
)
from serving.catalogue.item_records import FeatureValue

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Column:
    """One value per item, dictionary-encoded: item i has ``values[codes[i]]``, None for no value."""

    values: Sequence[FeatureValue | None]
    codes: NDArray[np.int32]

    def patched(self, cells: dict[int, FeatureValue | None], size: int) -> Column:
        """A column of ``size`` items, with the values of ``cells``; other new items have none."""
        codes = np.zeros(size, dtype=np.int32)
        codes[: len(self.codes)] = self.codes + 1
        values: list[FeatureValue | None] = [None, *self.values]
        code_of: dict[tuple[type, object], int] = {}
        for index, cell in cells.items():
            code = code_of.setdefault((type(cell), cell), len(values))
            if code == len(values):
                values.append(cell)
            codes[index] = code
        return Column(values, codes)

    def cell(self, index: int) -> FeatureValue | None:
        """The value of the item at ``index``."""
        code = int(self.codes[index])
        return self.values[code]


def matching(tree: Filter, column: Callable[[Test], Column]) -> BoolArray:
    """(items,) mask of the items that pass ``tree``; ``column`` returns the column of a test."""
    if isinstance(tree, Not):
        return ~matching(tree.part, column)
    if isinstance(tree, And):
        return reduce(np.logical_and, (matching(part, column) for part in tree.parts))
    if isinstance(tree, Or):
        return reduce(np.logical_or, (matching(part, column) for part in tree.parts))
    tested = column(tree)
    passes = np.fromiter((_passes(tree, value) for value in tested.values), np.bool_, len(tested.values))
    return np.asarray(passes[tested.codes])


def _passes(test: Test, value: FeatureValue | None) -> bool:
    if isinstance(test, Presence):
        return bool(value)
    if isinstance(test, Membership):
        return any(_equals(value, literal) for literal in test.values)
    return _compares(test, value)


def _compares(test: Comparison, value: FeatureValue | None) -> bool:
    if test.operator == "=":
        return _equals(value, test.value)
    if test.operator == "!=":
        return not _equals(value, test.value)
    if isinstance(value, tuple):
        return any(_compares(test, part) for part in value)
    compare = ORDERS[test.operator]
    if isinstance(value, str):
        return compare(value.casefold(), test.value.text.casefold())
    if value is None or isinstance(value, bool) or test.value.number is None:
        return False
    return compare(value, test.value.number)


def _equals(value: FeatureValue | None, literal: Literal) -> bool:
    if isinstance(value, tuple):
        return any(_equals(part, literal) for part in value)
    if isinstance(value, bool):
        return literal.text.casefold() == str(value).casefold()
    if isinstance(value, str):
        return value.casefold() == literal.text.casefold()
    return value is not None and value == literal.number
