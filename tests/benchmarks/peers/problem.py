"""What a peer gets: ratings to learn from, and the pairs whose stars it shall predict. No answers.

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
    """Rows as in the dataset: ``users``, ``items``, ``values`` (n,) to learn from; ``pair_users``,
    ``pair_items`` (pairs,) to predict, empty where lists are asked for; ``counts`` (2,) users and items;
    ``scale`` (2,) lowest and highest stars; features (rows, columns), of no columns where unknown."""

    users: Array
    items: Array
    values: Array
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
        values = np.ones(len(self.values)) if binary else self.values.astype(np.float64)
        return sparse.csr_matrix((values, (self.users, self.items)), shape=self.shape)

    def of_pairs(self, scores: Array) -> Array:
        """(pairs,) from (users, items) scores; the mean rating where a score is NaN."""
        found = scores[self.pair_users, self.pair_items]
        return np.where(np.isnan(found), self.mean, found)

    def save(self, path: Path) -> Path:
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})
        return path

    @classmethod
    def load(cls, path: Path) -> Problem:
        with np.load(path, allow_pickle=False) as stored:
            return cls(**{field.name: stored[field.name] for field in fields(cls)})
