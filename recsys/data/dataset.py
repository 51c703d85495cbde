"""A dataset: ratings, and what the outside world calls their users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings
from recsys.types import BoolArray


@dataclass(frozen=True)
class Catalogue:
    """Items in row order. ``ids`` (items,) unicode; ``titles`` "" and ``genres`` () where unknown."""

    ids: NDArray[np.str_]
    titles: Sequence[str]
    genres: Sequence[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.ids)

    def genre_names(self) -> tuple[str, ...]:
        """Every genre, sorted."""
        return tuple(sorted({name for row in self.genres for name in row}))

    def genre_matrix(self) -> BoolArray:
        """(items, genres) membership, columns as in ``genre_names``."""
        columns = {name: column for column, name in enumerate(self.genre_names())}
        matrix = np.zeros((len(self), len(columns)), dtype=np.bool_)
        for row, names in enumerate(self.genres):
            matrix[row, [columns[name] for name in names]] = True
        return matrix


@dataclass(frozen=True)
class Quality:
    """What was found wrong at load. Rows counted in the first four are left out of the ratings."""

    rows: int = 0
    unparsable: int = 0
    outside_scale: int = 0
    duplicate_pairs: int = 0
    impossible_times: int = 0
    users_with_few: int = 0
    items_with_few: int = 0
    examples: tuple[str, ...] = field(default=())

    @property
    def left_out(self) -> int:
        return self.unparsable + self.outside_scale + self.duplicate_pairs + self.impossible_times


@dataclass(frozen=True)
class Dataset:
    """Ratings with their ids. ``user_ids`` (users,) unicode; ``sha256`` is of the rating columns and ids.

    ``user_features`` and ``item_features`` are (rows, columns) float32 side information (demographics,
    genres) where the dataset has any.
    """

    name: str
    ratings: Ratings
    user_ids: NDArray[np.str_]
    catalogue: Catalogue
    sha256: str
    licence: str
    quality: Quality
    user_features: NDArray[np.float32] | None = None
    item_features: NDArray[np.float32] | None = None
