"""Items that were added, changed or hidden through the service, from its event store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, inspect, text

from recsys.types import JsonObject

QUERY = text(
    "SELECT seq, item_id, state FROM items WHERE seq IN "
    "(SELECT MAX(seq) FROM items WHERE seq <= :until GROUP BY item_id) ORDER BY seq"
)


@dataclass(frozen=True)
class ServedItems:
    """The newest revision of each item, as ``serving/catalogue/item_records.py`` writes it: ``title`` and
    ``genres`` (null: the base's), ``features``, ``hidden``. ``watermark`` is the last row read."""

    items: Mapping[str, JsonObject] = field(default_factory=dict)
    watermark: int = 0


def read_served_items(connection: Connection, *, until: int) -> ServedItems:
    """Revisions up to row ``until``; none of a store from before items could be changed."""
    if not inspect(connection).has_table("items"):
        return ServedItems()
    items, watermark = {}, 0
    for seq, item_id, state in connection.execute(QUERY, {"until": until}):
        items[item_id], watermark = json.loads(state), seq
    return ServedItems(items, watermark)
