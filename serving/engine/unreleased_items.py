"""Items added at run time, which a release does not have, encoded to be scored by their features."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.feature_encoding import Cells
from recsys.errors import InputError
from recsys.release.loaded_release import Release
from serving.catalogue.item_records import CatalogueItem
from serving.engine.item_view import ItemView

NO_MAP = "this release cannot score items by features: its data had none, or it was made by an older version"


def item_cells(items: list[CatalogueItem]) -> Cells:
    """Features by name, None where an item has none of that name."""
    names = dict.fromkeys(name for item in items for name in item.features)
    return {name: [item.features.get(name) for item in items] for name in names}


class UnscoredItem(InputError):
    """An item of the run-time catalogue that the release in service cannot score."""


class UnreleasedItems:
    """The added items of one ``view``: rows and features of those that lists may hold, and why not others.

    Computed on first use: every change of the catalogue makes a new view.
    """

    def __init__(self, release: Release, view: ItemView) -> None:
        self._attributes = release.attributes
        self._view = view
        self._first = len(release.items)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(n,) rows in the view of the items that lists may hold."""
        return self._encoded[0]

    @property
    def features(self) -> NDArray[np.float32]:
        """(n, 1 + columns), as the release's map takes them."""
        return self._encoded[1]

    def reason(self, row: int) -> str | None:
        """Why the release cannot list the added item in ``row``; None where it can."""
        return NO_MAP if self._attributes is None else self._encoded[2].get(row)

    def notes(self, row: int) -> list[str]:
        """What the release's scores do not make use of in the added item in ``row``: values that it did not
        learn from, columns that it does not know, and what is missing."""
        if self._attributes is None:
            return []
        item, encoder = self._view.changed_item(row), self._attributes.encoder
        notes = [
            f"genres: {name!r} is not among the {len(encoder.genres)} learned from"
            for name in item.genres or ()
            if name not in encoder.genres
        ]
        with contextlib.suppress(InputError):  # then the reason that it is not listed
            notes += encoder.further.encode(item_cells([item]), 1, where=item.item_id)[1]
        columns = encoder.further.columns
        known = {name for column in columns for name in (column.name, *column.parts)} | {"year"}
        unknown = [name for name in item.features if name not in known]
        return notes + [f"{name}: not a column that the release learned from" for name in unknown]

    def features_of(self, item_id: str) -> NDArray[np.float32]:
        """(1 + columns,) of an added item, listed or not.

        Raises:
            UnscoredItem: the release cannot tell anything of it.
        """
        row = self._view.row(item_id)
        assert row is not None
        try:
            if self._attributes is None:
                raise InputError(NO_MAP)
            features: NDArray[np.float32] = self._features([row])[0]
            return features
        except InputError as error:
            raise UnscoredItem(f"item {item_id!r} was added after the release was made: {error}") from None

    def check(self, item_id: str, features: Mapping[str, object]) -> None:
        """Raises InputError for a feature that is not of the kind that the release learned from."""
        if self._attributes is not None and features:
            cells = {name: [value] for name, value in features.items()}
            self._attributes.encoder.further.encode(cells, 1, where=f"item {item_id!r}")

    @cached_property
    def _encoded(self) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
        unlisted = self._view.concealed | set(self._view.unlisted.tolist())
        last = len(self._view)
        rows = [row for row in range(self._first, last) if row not in unlisted]
        attributes, reasons = self._attributes, dict[int, str]()
        if attributes is None or not rows:
            return np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.float32), reasons
        try:
            features = self._features(rows)
        except InputError:  # encoded one by one to find which
            encoded = dict[int, NDArray[np.float32]]()
            for row in rows:
                try:
                    encoded[row] = self._features([row])
                except InputError as error:
                    reasons[row] = str(error)
            rows = list(encoded)
            empty = np.zeros((0, 1 + attributes.encoder.width), dtype=np.float32)
            features = np.concatenate([empty, *encoded.values()])
        return np.array(rows, dtype=np.int64), features, reasons

    def _features(self, rows: list[int]) -> NDArray[np.float32]:
        assert self._attributes is not None
        items = [self._view.changed_item(row) for row in rows]
        return self._attributes.features(
            [item.title or "" for item in items],
            [item.genres or () for item in items],
            item_cells(items),
            where=f"item {items[0].item_id!r}" if len(items) == 1 else "added items",
        )
