"""From an item's title, genres and further columns to the feature columns that models learn from.

Kept with the data set and packed into its release, so that an item that comes later has the same columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.data.feature_encoding import Cells, FeatureEncoding

YEAR = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)")


@dataclass(frozen=True)
class ItemEncoder:
    """Feature columns in order: one a genre, the release year in decades from the mean, the further ones.

    Attributes:
        genres: Names that have a feature.
        mean_year: Of the titles that name one; None where none does.
        further: How the table's other columns are encoded.
    """

    genres: tuple[str, ...] = ()
    mean_year: float | None = None
    further: FeatureEncoding = field(default_factory=lambda: FeatureEncoding(()))

    @property
    def width(self) -> int:
        """Feature columns."""
        return len(self.genres) + (self.mean_year is not None) + self.further.width

    def encode(
        self, titles: Sequence[str], genres: Sequence[Sequence[str]], cells: Cells, *, where: str
    ) -> tuple[NDArray[np.float32], list[str]]:
        """The features of items.

        Args:
            titles: Of each item; the last year in brackets is its year.
            genres: Of each item; names without a feature count as none.
            cells: Further columns; one that is absent is missing for every item.
            where: The table's name, for errors.

        Returns:
            (items, width) float32, a missing value 0, the mean; and notes on what is odd.

        Raises:
            InputError: A value that is not of its column's kind.
        """
        columns = {name: column for column, name in enumerate(self.genres)}
        known = np.zeros((len(titles), len(columns)), dtype=np.float32)
        for row, names in enumerate(genres):
            known[row, [columns[name] for name in names if name in columns]] = 1
        blocks = [known]
        if self.mean_year is not None:
            years = np.array([release_year(title) for title in titles], dtype=np.float64)
            blocks.append(np.nan_to_num((years - self.mean_year) / 10).astype(np.float32)[:, None])
        further, notes = self.further.encode(cells, len(titles), where=where)
        return np.concatenate([*blocks, further], axis=1), notes


def fit_item_encoder(
    titles: Sequence[str], genres: Sequence[Sequence[str]], further: FeatureEncoding | None = None
) -> ItemEncoder:
    """The encoder of a catalogue; years count where there are genres too."""
    names = tuple(sorted({name for row in genres for name in row}))
    years = np.array([release_year(title) for title in titles] if names else [], dtype=np.float64)
    known = years[~np.isnan(years)]
    return ItemEncoder(names, float(known.mean()) if len(known) else None, further or FeatureEncoding(()))


def release_year(title: str) -> float:
    """The last year in brackets, as in "Se7en (1995)"; NaN where there is none."""
    years = YEAR.findall(title)
    return float(years[-1]) if years else float("nan")
