"""Items of a deployment: a release's, with the changed, added and hidden ones since.

Rows are the release's, then those of the added items in order of addition. A view is immutable: a change of
the catalogue makes a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.item_encoder import release_year
from recsys.release.loaded_release import Release
from recsys.types import BoolArray, JsonObject
from serving.catalogue.filter_columns import Column, matching
from serving.catalogue.filter_grammar import FilterSyntaxError, Test, parse_filter
from serving.catalogue.item_overlay import ItemOverlay
from serving.catalogue.item_records import CatalogueItem, FeatureValue
from serving.engine.release_columns import ReleaseColumns

MAX_MASKS = 256  # cached filters; 84 KB each at ML-32M's size
OWN_NAMES = ("id", "title", "genre", "genres", "year", "new", "available", "available_from", "available_to")


def time_text(at: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


class ItemView:
    """One release's items under one overlay. ``added`` are the ids of items that it does not have,
    ``hidden`` the rows of those that the deployment's rules hide."""

    def __init__(
        self,
        release: Release,
        columns: ReleaseColumns,
        overlay: ItemOverlay,
        *,
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self.overlay = overlay
        self._items = release.items
        self._columns = columns
        self._cards: dict[int, JsonObject] = {}
        self._masks: dict[str, BoolArray] = {}
        self._built: dict[str, Column] = {}
        self._changed: dict[int, CatalogueItem] = {}
        added: list[CatalogueItem] = []
        for item in overlay.items.values():
            row = columns.row(item.item_id)
            if row is None:
                added.append(item)
            else:
                self._changed[row] = item
        self._changed |= dict(enumerate(added, start=len(self._items)))
        self.added = tuple(item.item_id for item in added)
        self._rows = {item.item_id: row for row, item in self._changed.items()}
        rows = (self.row(item_id) for item_id in hidden)
        self.hidden = {row for row in rows if row is not None}

    def __len__(self) -> int:
        return len(self._items) + len(self.added)

    def row(self, item_id: str) -> int | None:
        """The row of an item, None for an unknown one."""
        row = self._rows.get(item_id)
        return self._items.ids.row(item_id) if row is None else row

    def changed_item(self, row: int) -> CatalogueItem:
        """The fields set at run time of the item in ``row``, which must have been changed or added."""
        return self._changed[row]

    def is_hidden(self, row: int) -> bool:
        """Whether the item itself is hidden, as by a DELETE."""
        changed = self._changed.get(row)
        return changed is not None and changed.hidden

    def differences(self, other: ItemView) -> set[int]:
        """Rows whose changes are not the same in both."""
        first, second = self._changed, other._changed
        return {row for row in first.keys() | second.keys() if first.get(row) is not second.get(row)}

    def is_retitled(self, row: int) -> bool:
        """Whether the title is not the release's."""
        changed = self._changed.get(row)
        return changed is not None and changed.title is not None

    # -- an item's fields ----------------------------------------------------------------------------

    def card(self, row: int) -> JsonObject:
        """``id``, ``title``, ``genres`` of an item, and ``new`` for one without ratings; the dict is shared,
        copy it before changing it."""
        card = self._cards.get(row)
        if card is None:
            changed = self._changed.get(row)
            released = row < len(self._items)
            genres = changed.genres if changed and changed.genres is not None else None
            title = changed.title if changed and changed.title is not None else None
            card = {
                "id": str(self._items.ids.names[row]) if released else self.added[row - len(self._items)],
                "title": title if title is not None else self._items.titles[row] if released else "",
                "genres": list(genres if genres is not None else self._items.genres(row) if released else ()),
            }
            if self.column("new").cell(row):
                card["new"] = True
            self._cards[row] = card
        return card

    def details(self, row: int) -> JsonObject:
        """The card with all other fields of the item."""
        changed = self._changed.get(row) or CatalogueItem("")
        year, reason = self.column("year").cell(row), self._reason(row, changed)
        return {
            **self.card(row),
            "year": int(year) if isinstance(year, float) and year.is_integer() else year,
            "features": {name: _plain(value) for name, value in changed.features.items() if name != "year"},
            "new": bool(self.column("new").cell(row)),
            "listed": reason is None,
            "reason": reason,
            "notes": [],
            "available": changed.is_available(self.overlay.at),
            "available_from": time_text(changed.available_from),
            "available_to": time_text(changed.available_to),
            "revision": changed.revision,
        }

    def _reason(self, row: int, changed: CatalogueItem) -> str | None:
        """Why no list may hold the item now."""
        if row in self.hidden:
            return "the rules hide it"
        if changed.hidden:
            return "it is hidden"
        return None if changed.is_available(self.overlay.at) else "it is not available now"

    @cached_property
    def concealed(self) -> set[int]:
        """Rows of items that are never shown: hidden themselves, or by the rules."""
        return self.hidden | {row for row, item in self._changed.items() if item.hidden}

    @cached_property
    def unlisted(self) -> NDArray[np.int32]:
        """Rows of the items that no list may hold now."""
        rows = (self._rows[item_id] for item_id in self.overlay.unlisted)
        return np.sort(np.fromiter(rows, dtype=np.int32))

    # -- filters -----------------------------------------------------------------------------------

    def with_genres(self, genres: Sequence[str]) -> BoolArray:
        """(rows,) mask of the items with any of ``genres``."""
        requested = {name.casefold() for name in genres}
        column = self.column("genre")
        matches = [any(name.casefold() in requested for name in _several(value)) for value in column.values]
        return np.array(matches, dtype=np.bool_)[column.codes]

    @cached_property
    def genres(self) -> dict[str, str]:
        """Every genre's name by its casefolded name."""
        names = list(self._items.genre_names)
        for item in self._changed.values():
            names += item.genres or ()
        known: dict[str, str] = {}
        for name in names:
            known.setdefault(name.casefold(), name)
        return known

    def where(self, text: str) -> BoolArray:
        """(rows,) mask of the items that a filter matches.

        Raises:
            FilterSyntaxError: it does not parse, or names what no item has.
        """
        mask = self._masks.get(text)
        if mask is None:
            mask = matching(parse_filter(text), self._tested)
            if len(self._masks) < MAX_MASKS:
                self._masks[text] = mask
        return mask

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Fields that filters may name."""
        features = {name for item in self._changed.values() for name in item.features}
        return (*OWN_NAMES, *sorted(features - set(OWN_NAMES)))

    def column(self, name: str) -> Column:
        """One of ``names``, the changes in it."""
        column = self._built.get(name)
        if column is None:
            column = self._build("genre" if name == "genres" else name)
            self._built[name] = column
        return column

    def _tested(self, test: Test) -> Column:
        if test.name not in self.names:
            known = ", ".join(self.names)
            raise FilterSyntaxError(test.position, f"no item has {test.name!r}; there are {known}")
        return self.column(test.name)

    def _build(self, name: str) -> Column:
        released = self._columns.named(name)
        if released is None:  # a field that the release lacks: without a value, or available
            value = True if name == "available" else None
            released = Column([value], np.zeros(len(self._items), dtype=np.int32))
        cells: dict[int, FeatureValue | None] = {}
        for row, item in self._changed.items():
            kept = released.cell(row) if row < len(self._items) else None
            cells[row] = self._cell(name, item, kept)
        return released.patched(cells, len(self))

    def _cell(self, name: str, item: CatalogueItem, kept: FeatureValue | None) -> FeatureValue | None:
        """The value of a changed item; ``kept`` is the release's."""
        if name == "id":
            return item.item_id
        if name == "title":
            return kept if item.title is None else item.title
        if name == "genre":
            return kept if item.genres is None else item.genres
        if name == "year":
            return item.features.get("year", kept if item.title is None else _year(item.title))
        if name == "new":
            return True if kept is None else kept
        if name == "available":
            return item.is_available(self.overlay.at)
        if name == "available_from":
            return time_text(item.available_from)
        if name == "available_to":
            return time_text(item.available_to)
        return item.features.get(name)

    # -- pages of items ----------------------------------------------------------------------------

    @cached_property
    def sorted_ids(self) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
        """All ids in order, and the row of each."""
        names = self._items.ids.names
        ids = np.concatenate([names, np.array(self.added, dtype=np.str_)]) if self.added else names
        order = np.argsort(ids, kind="stable")
        return ids[order], order

    def titled(self, text: str) -> list[int]:
        """Rows of changed items whose title holds ``text`` (casefolded)."""
        return [row for row, item in self._changed.items() if text in (item.title or "").casefold()]


def _several(value: object) -> Sequence[str]:
    return value if isinstance(value, tuple) else ()


def _plain(value: FeatureValue) -> object:
    return list(value) if isinstance(value, tuple) else value


def _year(title: str) -> float | None:
    year = release_year(title)
    return None if np.isnan(year) else year
