"""Snapshot of all changed items of the run-time catalogue in one replica."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from serving.catalogue.item_records import CatalogueItem


@dataclass(frozen=True)
class ItemOverlay:
    """``items`` by id up to ``seq`` of the event store, with availability at ``at`` (Unix seconds).
    Immutable."""

    items: dict[str, CatalogueItem] = field(default_factory=dict)
    seq: int = 0
    at: float = 0.0

    def with_changes(self, changed: Iterable[CatalogueItem], *, seq: int, at: float) -> ItemOverlay:
        """The snapshot with newer revisions; older ones than present are ignored."""
        items = dict(self.items)
        for item in changed:
            present = items.get(item.item_id)
            if present is None or present.revision < item.revision:
                items[item.item_id] = item
        return ItemOverlay(items, max(seq, self.seq), at)

    def shows(self, item: CatalogueItem) -> bool:
        """Whether lists may contain ``item`` now."""
        return not item.hidden and item.is_available(self.at)

    @cached_property
    def unlisted(self) -> tuple[str, ...]:
        """Ids of items that no list may contain now: hidden or unavailable."""
        return tuple(item.item_id for item in self.items.values() if not self.shows(item))

    @cached_property
    def next_change(self) -> float:
        """When the next availability window opens or closes (Unix seconds), infinity for never."""
        ends = (
            end
            for item in self.items.values()
            for end in (item.available_from, item.available_to)
            if end is not None and end > self.at
        )
        return min(ends, default=float("inf"))


NO_CHANGES = ItemOverlay()
