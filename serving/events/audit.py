"""The newest journal entries, without reading the others: the journal grows for years."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import func, select

from recsys.types import JsonObject
from serving.events.event_tables import EXPERIMENTS, JOURNAL
from serving.events.rows import JournalEntry, entry_from
from serving.events.store import EventStore


def newest(
    store: EventStore,
    kinds: Sequence[str],
    *,
    subject: str | None = None,
    since: float | None = None,
    count: int = 200,
) -> list[JournalEntry]:
    """At most ``count`` entries of ``kinds`` at or after ``since``, newest first."""
    query = select(JOURNAL).where(JOURNAL.c.kind.in_(list(kinds)))
    if subject is not None:
        query = query.where(JOURNAL.c.subject == subject)
    if since is not None:
        query = query.where(JOURNAL.c.at >= since)
    with store.engine.connect() as connection:
        rows = connection.execute(query.order_by(JOURNAL.c.seq.desc()).limit(count)).all()
    return [entry_from(row) for row in rows]


def shares_in(state: JsonObject | None) -> JsonObject | None:
    """Arm to share of a state in an audit entry, None for no state."""
    return None if state is None else {arm["name"]: arm["share"] for arm in state["arms"]}


def changed_fields(before: JsonObject | None, after: JsonObject | None) -> JsonObject:
    """Fields other than shares that a revision changed, as [before, after]; {} for the first revision."""
    if before is None or after is None:
        return {}
    rows = [dict(state) | {"releases": _by_arm(state, "release")} for state in (before, after)]
    rows = [row | {"explore": _by_arm(row, "explore")} for row in rows]
    names = ("kind", "salt", "owner", "holdout", "overrides", "metrics", "releases", "explore")
    pairs = {name: [row.get(name) for row in rows] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _by_arm(state: JsonObject, field: str) -> JsonObject:
    return {arm["name"]: arm.get(field) for arm in state["arms"] if arm.get(field)}


def lost_events(store: EventStore, experiment: str, *, revision: int) -> int:
    """Exposures that the writers counted as lost in gaps journalled after a revision was stored.

    Entries are compared by their order, not by their times: a clock may have been set in between. A gap is
    journalled when the store is available again, so its entry follows what it concerns.
    """
    stored_at = select(EXPERIMENTS.c.at).where(
        EXPERIMENTS.c.name == experiment, EXPERIMENTS.c.revision == revision
    )
    stored = select(func.min(JOURNAL.c.seq)).where(
        JOURNAL.c.kind == "audit",
        JOURNAL.c.subject == experiment,
        JOURNAL.c.at == stored_at.scalar_subquery(),
    )
    with store.engine.connect() as connection:
        first = connection.scalar(stored) or 0
        gaps = connection.scalars(
            select(JOURNAL.c.data).where(JOURNAL.c.kind == "gap", JOURNAL.c.seq > first)
        )
        return sum(int(json.loads(data).get("lost", 0)) for data in gaps)
