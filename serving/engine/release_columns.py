"""A release's own items as columns for filters: worked out once, shared by every view of the catalogue."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.item_encoder import release_year
from recsys.release.arrays import ItemCatalogue
from serving.catalogue.filter_columns import Column
from serving.catalogue.item_records import FeatureValue

NAMES = ("id", "title", "genre", "year", "new")


class ReleaseColumns:
    """``counts`` (items,) ratings that the release knows."""

    def __init__(self, items: ItemCatalogue, counts: NDArray[np.float32]) -> None:
        self._items = items
        self._counts = counts
        self._rows: dict[str, int | None] = {}

    def row(self, item_id: str) -> int | None:
        """The row of an item of the run-time catalogue, remembered: views ask for all of them."""
        if item_id not in self._rows:
            self._rows[item_id] = self._items.ids.row(item_id)
        return self._rows[item_id]

    def named(self, name: str) -> Column | None:
        """One of ``NAMES``, else None."""
        if name not in NAMES:
            return None
        found: Column = getattr(self, f"_{name}")
        return found

    @cached_property
    def _id(self) -> Column:
        return _each(self._items.ids.names.tolist())

    @cached_property
    def _title(self) -> Column:
        return _each(list(self._items.titles))

    @cached_property
    def _genre(self) -> Column:
        packed = np.packbits(self._items.member_of, axis=1)
        if not packed.shape[1]:
            return _each([()] * len(self._items))
        _, first, codes = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        return Column([self._items.genres(row) for row in first.tolist()], codes.reshape(-1).astype(np.int32))

    @cached_property
    def _year(self) -> Column:
        years, codes = np.unique([release_year(title) for title in self._items.titles], return_inverse=True)
        values = [None if np.isnan(year) else float(year) for year in years]
        return Column(values, codes.astype(np.int32))

    @cached_property
    def _new(self) -> Column:
        return Column([False, True], (np.asarray(self._counts) == 0).astype(np.int32))


def _each(values: list[FeatureValue | None]) -> Column:
    """Every item with a value of its own."""
    return Column(values, np.arange(len(values), dtype=np.int32))
