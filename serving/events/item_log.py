"""Revisions of items in the event store: one row each, which are their audit as well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from recsys.types import JsonObject
from serving.catalogue.item_records import CatalogueItem, item_from, item_text
from serving.events.event_tables import ITEMS
from serving.events.rows import JournalEntry, revision_history
from serving.events.store import QUERY_IDS, EventStore, insert_entry

ATTEMPTS = 5  # at a change while other writers change the same items


class ItemConflict(RuntimeError):
    """An item is at another revision than the change was made from."""

    def __init__(self, item_id: str, revision: int) -> None:
        super().__init__(f"item {item_id!r} is at revision {revision} by now; read it again and retry")


@dataclass(frozen=True)
class ItemChange:
    """A change of an item's ``fields``; ``reset`` sets all others back to the release's values. ``expected``
    is the revision that the change was made from, None for any."""

    item_id: str
    fields: Mapping[str, Any]
    reset: bool = False
    expected: int | None = None

    def apply(self, before: CatalogueItem | None) -> CatalogueItem:
        """The next revision; ``before`` itself where nothing changes.

        Raises:
            ItemConflict: ``before`` is not the expected revision.
        """
        start = before or CatalogueItem(self.item_id)
        if self.expected is not None and self.expected != start.revision:
            raise ItemConflict(self.item_id, start.revision)
        base = CatalogueItem(self.item_id, start.revision) if self.reset else start
        changed = base.merged(self.fields)
        if before is not None and changed == before:
            return before
        return replace(changed, revision=start.revision + 1)


def save_items(
    store: EventStore, changes: Sequence[ItemChange], *, actor: str, reason: str = "", at: float | None = None
) -> list[CatalogueItem]:
    """Store all of ``changes`` (each item once) or none; an item that stays the same gets no revision.

    Returns:
        The items after the changes, in their order.

    Raises:
        ItemConflict: an item is not at the expected revision, or other writers keep changing it.
    """
    for _ in range(ATTEMPTS):
        try:
            return _save(store, changes, actor, reason, time.time() if at is None else at)
        except IntegrityError:  # another writer stored the same revision of one of them
            continue
    raise ItemConflict(changes[0].item_id, 0)


def _save(
    store: EventStore, changes: Sequence[ItemChange], actor: str, reason: str, at: float
) -> list[CatalogueItem]:
    with store.transaction() as connection:
        before = _stored(connection, [change.item_id for change in changes])
        after = [change.apply(before.get(change.item_id)) for change in changes]
        new = [item for item in after if item is not before.get(item.item_id)]
        if new:
            who = {"at": at, "actor": actor, "reason": reason}
            rows = [
                {"item_id": item.item_id, "revision": item.revision, "state": item_text(item), **who}
                for item in new
            ]
            connection.execute(insert(ITEMS), rows)
            entry = {"actor": actor, "reason": reason, "items": len(new)}
            if len(new) == 1:
                old = before.get(new[0].item_id)
                entry |= {"before": None if old is None else fields_of(old), "after": fields_of(new[0])}
            subject = new[0].item_id if len(new) == 1 else "many"
            insert_entry(connection, JournalEntry(at, "catalogue", subject, entry))
    return after


def _stored(connection: Connection, item_ids: Sequence[str]) -> dict[str, CatalogueItem]:
    """The newest revision of each of ``item_ids`` that has one."""
    stored: dict[str, CatalogueItem] = {}
    for first in range(0, len(item_ids), QUERY_IDS):
        names = item_ids[first : first + QUERY_IDS]
        query = select(ITEMS).where(ITEMS.c.item_id.in_(names)).order_by(ITEMS.c.revision)
        for row in connection.execute(query):
            stored[row.item_id] = item_from(row.item_id, row.revision, row.state)
    return stored


def item_changes(store: EventStore, *, after: int = 0) -> Iterator[tuple[int, CatalogueItem]]:
    """Every stored revision with its ``seq``, in that order: what a replica polls."""
    for row in store.chunks(select(ITEMS), ITEMS, after):
        yield row.seq, item_from(row.item_id, row.revision, row.state)


def newest_items(store: EventStore) -> tuple[int, list[CatalogueItem]]:
    """The last ``seq`` and the newest revision of every item."""
    last = select(func.max(ITEMS.c.seq)).group_by(ITEMS.c.item_id)
    query = select(ITEMS).where(ITEMS.c.seq.in_(last)).order_by(ITEMS.c.seq)
    with store.engine.connect() as connection:
        rows = connection.execute(query).all()
    return (rows[-1].seq if rows else 0), [item_from(row.item_id, row.revision, row.state) for row in rows]


def item_history(store: EventStore, item_id: str, *, count: int = 100) -> list[JsonObject]:
    """Changes of an item, newest first: time, actor, reason, and the fields before and after."""
    query = select(ITEMS).where(ITEMS.c.item_id == item_id).order_by(ITEMS.c.revision.desc())
    with store.engine.connect() as connection:
        rows = connection.execute(query.limit(count + 1)).all()
    states = [fields_of(item_from(item_id, row.revision, row.state)) for row in rows]
    return revision_history(rows, states, oldest=None, count=count)


def fields_of(item: CatalogueItem) -> JsonObject:
    """The fields set of an item, as JSON."""
    fields: JsonObject = json.loads(item_text(item))
    return fields
