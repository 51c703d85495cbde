"""The slices of a dataset, as row numbers into its ratings.

``train`` and ``valid`` are all that search, early stopping and blending see; ``gate`` decides
promotion only; ``test`` is looked at once; ``future`` is the newest part, kept for replay; ``fold_in`` is
what is known of people whom nothing was fitted on (``strong:USERS``): they are folded in from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings

SliceName = Literal["train", "valid", "gate", "test", "future", "fold_in"]
SLICES: tuple[SliceName, ...] = ("train", "valid", "gate", "test", "future", "fold_in")


@dataclass(frozen=True)
class Split:
    """Disjoint row numbers, (n,) int64 each. ``fingerprint`` is a sha256 of protocol, seed and rows."""

    protocol: str
    seed: int
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    gate: NDArray[np.int64]
    test: NDArray[np.int64]
    future: NDArray[np.int64]
    fingerprint: str
    fold_in: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def rows(self, name: SliceName) -> NDArray[np.int64]:
        rows: NDArray[np.int64] = getattr(self, name)
        return rows

    def joined(self, *names: SliceName) -> NDArray[np.int64]:
        """(n,) the rows of several slices together, ascending."""
        return np.sort(np.concatenate([self.rows(name) for name in names]))

    def counts(self) -> dict[SliceName, int]:
        return {name: len(self.rows(name)) for name in SLICES}


@dataclass(frozen=True)
class TrainingData:
    """Everything that training may see: gate, test and future are not in it.

    ``user_features`` (users, columns) and ``item_features`` (items, columns) are float32 side
    information, or None. ``item_features`` starts with the genre columns.
    """

    train: Ratings
    valid: Ratings
    user_features: NDArray[np.float32] | None = None
    item_features: NDArray[np.float32] | None = None
