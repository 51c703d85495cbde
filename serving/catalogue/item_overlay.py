"""Every changed item of the run-time catalogue, as one replica knows them at one moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from serving.catalogue.item_records import CatalogueItem


@dataclass(frozen=True)
class ItemOverlay:
    """``items`` by id, as far as revision ``seq`` of the event store; availability is judged at ``at`` (Unix
    seconds). Replaced, never changed."""

    items: dict[str, CatalogueItem] = field(default_factory=dict)
    seq: int = 0
    at: float = 0.0

    def with_changes(self, changed: Iterable[CatalogueItem], *, seq: int, at: float) -> ItemOverlay:
        """After newer revisions have been read; an older one than what is there is ignored."""
        items = dict(self.items)
        for item in changed:
            present = items.get(item.item_id)
            if present is None or present.revision < item.revision:
                items[item.item_id] = item
        return ItemOverlay(items, max(seq, self.seq), at)

    def shows(self, item: CatalogueItem) -> bool:
        """Whether lists may hold ``item`` now."""
        return not item.hidden and item.is_available(self.at)

    @cached_property
    def unlisted(self) -> tuple[str, ...]:
        """Ids of items that no list may hold now: hidden, or outside their window."""
        return tuple(item.item_id for item in self.items.values() if not self.shows(item))

    @cached_property
    def next_change(self) -> float:
        """When the next window opens or closes (Unix seconds), infinity for never."""
        ends = (
            end
            for item in self.items.values()
            for end in (item.available_from, item.available_to)
            if end is not None and end > self.at
        )
        return min(ends, default=float("inf"))


NO_CHANGES = ItemOverlay()
