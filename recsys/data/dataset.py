"""A dataset: ratings, and what the outside world calls their users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.data.item_encoder import ItemEncoder
from recsys.data.ratings import Ratings
from recsys.data.user_groups import UserGroups
from recsys.types import BoolArray, JsonObject


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


REASONS = (
    "unparsable",
    "outside_scale",
    "duplicate_pairs",
    "impossible_times",
    "empty_times",
    "missing_codes",
)  # that rows are left out for, as fields of Quality


@dataclass(frozen=True)
class Quality:
    """What was found at load. ``rows`` were read; those counted up to ``missing_codes`` are left out of the
    ratings. ``few`` is how many ratings are fewer than enough; ``examples`` name file lines, ``notes`` say
    what is odd without being wrong, and ``warnings`` those of them that may make the ratings untrue.
    ``values`` are (rating, share) of the ratings kept; ``titles`` are items with a title, of all.
    """

    rows: int = 0
    unparsable: int = 0
    outside_scale: int = 0
    duplicate_pairs: int = 0
    impossible_times: int = 0
    empty_times: int = 0
    missing_codes: int = 0
    users_with_few: int = 0
    items_with_few: int = 0
    few: int = 5
    examples: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    reading: tuple[str, ...] = field(default=())
    scale_origin: str = ""
    time_unit: str = ""
    values: tuple[tuple[float, float], ...] = field(default=())
    titles: tuple[int, int] | None = None

    def left_out_by_reason(self) -> dict[str, int]:
        """Rows left out, by reason; reasons without rows are absent."""
        return {reason: getattr(self, reason) for reason in REASONS if getattr(self, reason)}

    @property
    def left_out(self) -> int:
        return sum(self.left_out_by_reason().values())


@dataclass(frozen=True)
class Dataset:
    """Ratings with their ids. ``user_ids`` (users,) unicode; ``sha256`` is of the rating columns and ids.

    ``user_features`` and ``item_features`` are (rows, columns) float32 side information (demographics,
    genres) where the dataset has any, ``item_encoder`` makes those of an item, ``user_groups`` is what users
    are told apart by. ``source`` says in one line where the ratings came from.
    ``noise_floor`` is the rmse of the best possible predictor, known of synthetic ratings only.
    ``lineage`` says what served ratings were merged in (``merged_ratings.merge_served``); ``positives`` are
    clicks and the like of pairs without a rating, for lists alone.
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
    item_encoder: ItemEncoder | None = None
    user_groups: UserGroups | None = None
    source: str = ""
    noise_floor: float | None = None
    lineage: JsonObject | None = None
    positives: Ratings | None = None

    @property
    def has_new_items(self) -> bool:
        """Whether the catalogue holds items that nobody has rated."""
        ratings = self.ratings
        return bool(np.any(np.bincount(ratings.items, minlength=ratings.item_count) == 0))
