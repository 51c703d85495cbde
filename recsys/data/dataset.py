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
    """What was found wrong at load. ``rows`` were read; those counted in the next four are left out of
    the ratings. ``few`` is how many ratings are fewer than enough; ``examples`` name file lines, and
    ``notes`` say what is odd without being wrong.
    """

    rows: int = 0
    unparsable: int = 0
    outside_scale: int = 0
    duplicate_pairs: int = 0
    impossible_times: int = 0
    users_with_few: int = 0
    items_with_few: int = 0
    few: int = 5
    examples: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def left_out(self) -> int:
        return self.unparsable + self.outside_scale + self.duplicate_pairs + self.impossible_times

    def lines(self) -> list[str]:
        """The report, a finding a line; what was not found is not said."""
        kinds = {
            "rows that do not parse": self.unparsable,
            "ratings outside the scale": self.outside_scale,
            "repeated user-item pairs (the last one is kept)": self.duplicate_pairs,
            "rows with impossible timestamps": self.impossible_times,
        }
        told = [f"{self.rows:,} rows read, {self.left_out:,} left out"]
        told += [f"{count:,} {kind}" for kind, count in kinds.items() if count]
        told += [f"e.g. {example}" for example in self.examples]
        few = f"{self.users_with_few:,} users and {self.items_with_few:,} items"
        told.append(f"{few} have fewer than {self.few} ratings")
        return [*told, *self.notes]


@dataclass(frozen=True)
class Dataset:
    """Ratings with their ids. ``user_ids`` (users,) unicode; ``sha256`` is of the rating columns and ids.

    ``user_features`` and ``item_features`` are (rows, columns) float32 side information (demographics,
    genres) where the dataset has any. ``source`` says in one line where the ratings came from.
    ``noise_floor`` is the rmse of the best possible predictor, known of synthetic ratings only.
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
    source: str = ""
    noise_floor: float | None = None
