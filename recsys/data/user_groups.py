"""Users told apart by the columns of their table: what results of experiments are shown by.

A category keeps its most frequent values, the rest is "other" (``MAX_GROUPS`` in all); numbers of more values
are cut into thirds. Lists, vectors, and categories without a value that repeats have no groups.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.feature_cells import cell_value

MAX_GROUPS = 10
UNKNOWN = "not known"
OTHER = "other"


@dataclass(frozen=True)
class UserGroups:
    """``names`` are each column's groups; ``codes`` (users, columns) int16 their places, -1: not known."""

    names: dict[str, tuple[str, ...]]
    codes: NDArray[np.int16]

    def group_of(self, column: str, user: int | None) -> str:
        """The group of a row in a column, ``UNKNOWN`` for None or a missing value. Raises KeyError."""
        names = self.names[column]
        code = -1 if user is None else int(self.codes[user, list(self.names).index(column)])
        return UNKNOWN if code < 0 else names[code]

    def save(self, folder: Path) -> None:
        """``groups.npy`` and ``groups.json`` in ``folder``."""
        np.save(folder / "groups.npy", self.codes, allow_pickle=False)
        (folder / "groups.json").write_text(json.dumps(self.names), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> UserGroups | None:
        """What ``save`` wrote, None where nothing was. Raises ValueError where the two files disagree."""
        if not (folder / "groups.json").exists():
            return None
        names = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
        codes = np.load(folder / "groups.npy", allow_pickle=False)
        if codes.ndim != 2 or codes.shape[1] != len(names):
            raise ValueError(f"{folder}: groups.npy is {codes.shape}, groups.json has {len(names)} columns")
        return cls({column: tuple(groups) for column, groups in names.items()}, codes)


def group_users(
    cells: Mapping[str, Sequence[object]], rows: Sequence[int] | NDArray[np.int64], users: int
) -> UserGroups | None:
    """The groups of ``users`` rows; ``cells`` by column are those of ``rows``. None where there are none."""
    names: dict[str, tuple[str, ...]] = {}
    codes = []
    for column, values in cells.items():
        grouped = _grouped([cell_value(cell) for cell in values])
        if grouped is not None:
            names[column] = grouped[0]
            codes.append(np.full(users, -1, dtype=np.int16))
            codes[-1][np.asarray(rows, dtype=np.int64)] = grouped[1]
    return UserGroups(names, np.stack(codes, axis=1)) if codes else None


def _grouped(values: Sequence[object]) -> tuple[tuple[str, ...], list[int]] | None:
    """The groups of a column and each value's place among them, -1 where it is missing."""
    filled = [value for value in values if value is not None]
    if any(isinstance(value, tuple) for value in filled):
        return None
    numbers = [value for value in filled if isinstance(value, float)]
    if len(numbers) == len(filled) and len(set(numbers)) > MAX_GROUPS:
        return _thirds(values, numbers)
    texts = [None if value is None else _text(value) for value in values]
    counts = Counter(text for text in texts if text is not None)
    if len(counts) < 2 or max(counts.values()) == 1:
        return None
    common = [text for text, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]
    shown_groups = common if len(common) <= MAX_GROUPS else common[: MAX_GROUPS - 1]
    groups = (*sorted(shown_groups), *([] if len(shown_groups) == len(common) else [OTHER]))
    codes = {text: groups.index(text) if text in shown_groups else len(groups) - 1 for text in common}
    return groups, [-1 if text is None else codes[text] for text in texts]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _thirds(values: Sequence[object], numbers: Sequence[float]) -> tuple[tuple[str, ...], list[int]] | None:
    low, high = (float(edge) for edge in np.quantile(numbers, [1 / 3, 2 / 3], method="inverted_cdf"))
    if not low < high < max(numbers):
        return None
    groups = (f"up to {low:g}", f"above {low:g}, up to {high:g}", f"above {high:g}")
    return groups, [
        -1 if not isinstance(value, float) else int(value > low) + int(value > high) for value in values
    ]
