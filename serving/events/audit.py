"""The newest of the journal, without reading the rest of it: it grows for years and is asked every second."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import select

from serving.events.event_tables import JOURNAL
from serving.events.rows import JournalEntry
from serving.events.store import EventStore


def newest(
    store: EventStore,
    kinds: Sequence[str],
    *,
    subject: str | None = None,
    since: float | None = None,
    count: int = 200,
) -> list[JournalEntry]:
    """At most ``count`` entries of ``kinds``, at or after ``since``, newest first."""
    query = select(JOURNAL).where(JOURNAL.c.kind.in_(list(kinds)))
    if subject is not None:
        query = query.where(JOURNAL.c.subject == subject)
    if since is not None:
        query = query.where(JOURNAL.c.at >= since)
    with store.engine.connect() as connection:
        rows = connection.execute(query.order_by(JOURNAL.c.seq.desc()).limit(count)).all()
    return [JournalEntry(row.at, row.kind, row.subject, json.loads(row.data), row.seq) for row in rows]


def lost_events(store: EventStore, since: float) -> int:
    """Exposures that no disk could hold, by the writers' own count, in gaps that reach past ``since``.

    A gap is journalled when the store is back, so its entry is never older than the gap."""
    gaps = newest(store, ("gap",), since=since, count=1000)
    return sum(int(gap.data.get("lost", 0)) for gap in gaps)
