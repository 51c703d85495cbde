"""Items of the run-time catalogue: changes to a release's item, or an item that no release has.

They are keyed by item id, so that they outlive a release; a None field has the release's value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from recsys.errors import InputError
from recsys.types import JsonObject

FeatureValue = bool | float | str | tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True)
class CatalogueItem:
    """An item. Lists may contain it while ``available_from`` <= now < ``available_to`` (Unix seconds) unless
    it is ``hidden``. ``revision`` counts its changes."""

    item_id: str
    revision: int = 0
    title: str | None = None
    genres: tuple[str, ...] | None = None
    features: Mapping[str, FeatureValue] = field(default_factory=dict)
    available_from: float | None = None
    available_to: float | None = None
    hidden: bool = False

    def __post_init__(self) -> None:
        start, end = self.available_from, self.available_to
        if start is not None and end is not None and end <= start:
            raise InputError(f"item {self.item_id!r}: available_to must be later than available_from")

    def is_available(self, now: float) -> bool:
        """Whether the item is available at ``now`` (Unix seconds)."""
        return (self.available_from is None or self.available_from <= now) and (
            self.available_to is None or now < self.available_to
        )

    def merged(self, change: Mapping[str, Any]) -> CatalogueItem:
        """The item with the fields of ``change``; a feature that is None there is removed."""
        fields = dict(change)
        features = fields.pop("features", None)
        if features is not None:
            joined = {**self.features, **features}
            fields["features"] = {name: value for name, value in joined.items() if value is not None}
        return replace(self, **fields)


def item_text(item: CatalogueItem) -> str:
    """An item as the event store's JSON."""
    fields = asdict(item)
    del fields["item_id"], fields["revision"]
    return json.dumps(fields)


def item_from(item_id: str, revision: int, text: str) -> CatalogueItem:
    """The item that ``item_text`` wrote."""
    fields: JsonObject = json.loads(text)
    genres = fields.pop("genres")
    features = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.pop("features").items()
    }
    return CatalogueItem(
        item_id, revision, genres=None if genres is None else tuple(genres), features=features, **fields
    )
