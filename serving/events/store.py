"""The event store: a batch written in one transaction, everything read back in chunks.

Calls block: a server writes through ``writer.EventWriter`` and reads from threads.

A PostgreSQL sequence is drawn before the commit, so two writers could commit out of order and a reader
that polls by ``seq`` would skip a row; writers therefore take one advisory lock for their (grouped,
short) transaction. SQLite has one writer at a time anyway.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from serving.assignment import reallocate
from serving.domain import ExperimentState, Exposure, Feedback
from serving.events import rows
from serving.events.engine import FileWatch, connect
from serving.events.event_queries import EventQueries
from serving.events.event_schema import needs_upgrade, upgrade
from serving.events.event_tables import EXPERIMENTS, EXPOSURES, FEEDBACK, JOURNAL
from serving.events.rows import JournalEntry

CONTENT_FIELDS = ("exposure_id", "user_id", "kind", "item_id", "value")  # what makes two events the same
LOOK_UP_ROWS = 500  # event ids in one query
DELETED_ROWS = 5_000  # in one transaction
LOCK = 72_179_001  # an arbitrary number that our PostgreSQL writers agree on


class Conflict(RuntimeError):
    """Somebody else changed the experiment since it was read. ``current`` is what it is now."""

    def __init__(self, current: ExperimentState | None) -> None:
        super().__init__("the experiment has changed since it was read; read it again and retry")
        self.current = current


class EventConflict(RuntimeError):
    """Event ids that are taken by other content. ``indices`` are the refused events' places."""

    def __init__(self, event_ids: Sequence[str], indices: Sequence[int]) -> None:
        names = ", ".join(dict.fromkeys(event_ids))
        super().__init__(f"event_id {names}: used before for other content; nothing of this body was stored")
        self.indices = tuple(indices)


class EventStore(EventQueries):
    """Reads and writes what happened. Safe to use from several threads and processes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)
        self.postgres = self.engine.dialect.name == "postgresql"
        self._watch = FileWatch(self.engine)
        self._insert: Any = postgresql.insert if self.postgres else sqlite.insert

    def create_tables(self) -> None:
        """Make the tables, or bring an older store's up. Once, before anything is read or written.

        Raises:
            InputError: the store was opened by a newer program.
        """
        with self.engine.connect() as connection:
            behind = needs_upgrade(connection)
        if behind:
            with self.engine.begin() as connection:
                # Two replicas that start together would both try: the second waits, and finds it done.
                if self.postgres:
                    connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
                else:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                if needs_upgrade(connection):
                    upgrade(connection)
        self._watch.check()

    def ping(self) -> None:
        """Raises when the store cannot be reached."""
        self.require_tables()
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()

    # -- writing -----------------------------------------------------------------------------------

    def add(self, *, exposures: Sequence[Exposure] = (), feedback: Sequence[Feedback] = ()) -> set[str]:
        """Both in one transaction; returns the event ids that were new (the rest were there already)."""
        return self.add_rows([rows.exposure_row(row) for row in exposures], feedback)

    def add_rows(self, exposures: Sequence[dict[str, Any]], feedback: Sequence[Feedback]) -> set[str]:
        """As ``add``, with exposures already as rows of their table.

        Raises:
            EventConflict: an event id is there already with other content; nothing is stored.
        """
        new: set[str] = set()
        self.require_tables()
        with self.engine.begin() as connection:
            self.lock_writers(connection)
            if exposures:
                self._insert_exposures(connection, exposures)
            if feedback:
                skip = self._insert(FEEDBACK).on_conflict_do_nothing(index_elements=["event_id"])
                existing = connection.execute(
                    skip.returning(FEEDBACK.c.event_id), [dict(row.__dict__) for row in feedback]
                )
                new = set(existing.scalars())
                _check_duplicates(connection, feedback, new)
        return new

    def _insert_exposures(self, connection: Connection, exposures: Sequence[dict[str, Any]]) -> None:
        """Those of any version, compiled once: they come by the thousand a second."""
        text, names = self._exposure_insert
        if names is None:
            connection.exec_driver_sql(text, [rows.known_columns(row) for row in exposures])
        else:
            connection.exec_driver_sql(text, [tuple([row.get(name) for name in names]) for row in exposures])

    @cached_property
    def _exposure_insert(self) -> tuple[str, tuple[str, ...] | None]:
        """The statement, and the order of its parameters where they are not named."""
        skip = self._insert(EXPOSURES).on_conflict_do_nothing(index_elements=["exposure_id"])
        compiled = skip.compile(dialect=self.engine.dialect, column_keys=list(rows.EXPOSURE_COLUMNS))
        names = compiled.positiontup if compiled.positional else None
        return str(compiled), None if names is None else tuple(names)

    def append(self, kind: str, subject: str, data: dict[str, Any], *, at: float | None = None) -> None:
        """One line in the journal."""
        self.require_tables()
        with self.engine.begin() as connection:
            self.lock_writers(connection)
            _insert_journal(connection, JournalEntry(time.time() if at is None else at, kind, subject, data))

    def delete(self, table: Table, condition: ColumnElement[bool]) -> int:
        """Deletes rows of ``table``, some at a time so that no writer waits for it; returns how many."""
        total = 0
        while True:
            chosen = select(table.c.seq).where(condition).limit(DELETED_ROWS)
            with self.engine.begin() as connection:
                count = connection.execute(delete(table).where(table.c.seq.in_(chosen))).rowcount
            total += count
            if count < DELETED_ROWS:
                return total

    def save_experiment(
        self, state: ExperimentState, *, expected: int, actor: str, reason: str = "", at: float | None = None
    ) -> ExperimentState:
        """``state`` becomes revision ``expected`` + 1 (0 + 1 for a new one), or raises ``Conflict``.

        Ranges of users are laid out here, from the revision before: whoever writes, as few users move as
        can be. The journal gets an "audit" entry in the same transaction. InputError for shares that
        cannot be.
        """
        now = time.time() if at is None else at
        before = self.experiment(state.name)
        state = reallocate(replace(state, revision=expected + 1), before)
        row = {"name": state.name, "revision": state.revision, "at": now, "actor": actor}
        if (before.revision if before else 0) != expected:
            raise Conflict(before)
        try:
            with self.engine.begin() as connection:
                self.lock_writers(connection)
                connection.execute(insert(EXPERIMENTS), row | {"state": rows.state_text(state)})
                change = {"actor": actor, "reason": reason, "revision": state.revision}
                change |= {"before": asdict(before) if before else None, "after": asdict(state)}
                _insert_journal(connection, JournalEntry(now, "audit", state.name, change))
        except IntegrityError:
            raise Conflict(self.experiment(state.name)) from None
        return state

    def require_tables(self) -> None:
        """Raises ``Gone`` for a vanished SQLite file; one that was put in its place gets its tables."""
        if self._watch.check():
            self.create_tables()

    def lock_writers(self, connection: Connection) -> None:
        """Commits in the order of ``seq``: PostgreSQL's writers take turns, SQLite's do anyway."""
        if self.postgres:
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))

    # -- reading -----------------------------------------------------------------------------------


def _check_duplicates(connection: Connection, feedback: Sequence[Feedback], new: set[str]) -> None:
    """Compares every event with what is stored under its id by now, except those that were just stored once.

    ``at`` may differ (where the sender leaves it out it is the time of each try), ``predicted`` is ours.
    """
    counts = Counter(event.event_id for event in feedback)
    doubtful = [name for name, count in counts.items() if count > 1 or name not in new]
    stored: dict[str, tuple[Any, ...]] = {}
    columns = [FEEDBACK.c[name] for name in CONTENT_FIELDS]
    for first in range(0, len(doubtful), LOOK_UP_ROWS):
        names = doubtful[first : first + LOOK_UP_ROWS]
        query = select(FEEDBACK.c.event_id, *columns).where(FEEDBACK.c.event_id.in_(names))
        stored |= {row[0]: tuple(row[1:]) for row in connection.execute(query)}
    refused = [
        index
        for index, event in enumerate(feedback)
        if event.event_id in stored
        and stored[event.event_id] != tuple(getattr(event, name) for name in CONTENT_FIELDS)
    ]
    if refused:
        raise EventConflict([feedback[index].event_id for index in refused], refused)


def _insert_journal(connection: Connection, entry: JournalEntry) -> None:
    row = {"at": entry.at, "kind": entry.kind, "subject": entry.subject, "data": json.dumps(entry.data)}
    connection.execute(insert(JOURNAL), row)
