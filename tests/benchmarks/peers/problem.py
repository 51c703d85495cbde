"""What a peer gets: ratings to learn from, and the pairs or people to predict for. No answers.

A file (.npz without pickles) carries it into the peer's process, which may have another numpy than ours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """Rows as in the dataset: ``users``, ``items``, ``values`` (n,) to learn from; ``fold_in_users``,
    ``fold_in_items``, ``fold_in_values`` (m,) of the people whose lists are asked for, empty where these are
    the people learned from; ``pair_users``, ``pair_items`` (pairs,) to predict, empty where lists are asked
    for; ``counts`` (2,) users and items; ``scale`` (2,) lowest and highest stars; features (rows, columns),
    of no columns where unknown."""

    users: Array
    items: Array
    values: Array
    fold_in_users: Array
    fold_in_items: Array
    fold_in_values: Array
    pair_users: Array
    pair_items: Array
    counts: Array
    scale: Array
    user_features: Array
    item_features: Array

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.counts[0]), int(self.counts[1])

    @property
    def mean(self) -> float:
        return float(self.values.mean(dtype=np.float64))

    def rated(self, *, binary: bool) -> sparse.csr_matrix:
        """(users, items): stars, or 1 for every rating."""
        return self._matrix(self.users, self.items, self.values, binary)

    def histories(self, *, binary: bool) -> sparse.csr_matrix:
        """(users, items) as ``rated``, of the people whose lists are asked for; others have empty rows."""
        if not len(self.fold_in_users):
            return self.rated(binary=binary)
        return self._matrix(self.fold_in_users, self.fold_in_items, self.fold_in_values, binary)

    def _matrix(self, users: Array, items: Array, values: Array, binary: bool) -> sparse.csr_matrix:
        cells = np.ones(len(values)) if binary else values.astype(np.float64)
        return sparse.csr_matrix((cells, (users, items)), shape=self.shape)

    def of_pairs(self, scores: Array) -> Array:
        """(pairs,) from (users, items) scores; the mean rating where a score is NaN."""
        result = scores[self.pair_users, self.pair_items]
        return np.where(np.isnan(result), self.mean, result)

    def save(self, path: Path) -> Path:
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})
        return path

    @classmethod
    def load(cls, path: Path) -> Problem:
        with np.load(path, allow_pickle=False) as stored:
            return cls(**{field.name: stored[field.name] for field in fields(cls)})
