"""The event store: batches are written in one transaction and read in chunks.

Calls block: a server writes through ``event_writer.EventWriter`` and reads from threads.

PostgreSQL draws ``seq`` before the commit, so two writers could commit out of order and a reader that polls
by ``seq`` would skip a row; writers therefore take an advisory lock for their (short) transaction. SQLite has
one writer at a time anyway.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from serving.assignment import reallocate
from serving.domain import ExperimentState, Exposure, Feedback
from serving.events import rows
from serving.events.engine import FileWatch, StoreGone, connect
from serving.events.event_queries import EventQueries
from serving.events.event_schema import needs_upgrade, upgrade
from serving.events.event_tables import EXPERIMENTS, EXPOSURES, FEEDBACK, JOURNAL
from serving.events.rows import JournalEntry

CONTENT_FIELDS = ("exposure_id", "user_id", "kind", "item_id", "value")  # equal in two copies of an event
QUERY_IDS = 500  # ids in one query
DELETED_ROWS = 5_000  # in one transaction
LOCK = 72_179_001  # key of the PostgreSQL writers' advisory lock


class Conflict(RuntimeError):
    """The experiment was changed since it was read; ``current`` is its state now."""

    def __init__(self, current: ExperimentState | None) -> None:
        super().__init__("the experiment has changed since it was read; read it again and retry")
        self.current = current


class EventConflict(RuntimeError):
    """Event ids that are stored with other content; ``indices`` are the positions of the refused events."""

    def __init__(self, event_ids: Sequence[str], indices: Sequence[int]) -> None:
        names = ", ".join(dict.fromkeys(event_ids))
        super().__init__(f"event_id {names}: used before for other content; nothing of this body was stored")
        self.indices = tuple(indices)


class EventStore(EventQueries):
    """Reads and writes events. Safe to use from several threads and processes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = connect(url)
        self.postgres = self.engine.dialect.name == "postgresql"
        self._watch = FileWatch(self.engine)
        self._insert: Any = postgresql.insert if self.postgres else sqlite.insert

    def create_tables(self) -> None:
        """Create the tables, or upgrade an older store; to be called before anything is read or written.

        Raises:
            InputError: the store was opened by a newer program.
        """
        with self.engine.connect() as connection:
            behind = needs_upgrade(connection)
        if behind:
            with self.engine.begin() as connection:
                # Of two replicas that start together the second waits, and has nothing left to do.
                if self.postgres:
                    connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
                else:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                if needs_upgrade(connection):
                    upgrade(connection)
        self._watch.check()

    def ping(self) -> None:
        """Raise what a store that cannot be reached raises."""
        self.require_tables()
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()

    def add(self, *, exposures: Sequence[Exposure] = (), feedback: Sequence[Feedback] = ()) -> set[str]:
        """Add both in one transaction; returns the event ids that were not stored before."""
        return self.add_rows([rows.exposure_row(row) for row in exposures], feedback)

    def add_rows(self, exposures: Sequence[dict[str, Any]], feedback: Sequence[Feedback]) -> set[str]:
        """As ``add``, with exposures as rows of their table.

        Raises:
            EventConflict: an event id is stored with other content; nothing is added.
        """
        new: set[str] = set()
        with self.transaction() as connection:
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
        """Insert rows of any version by a statement that is compiled once: there are thousands a second."""
        text, names = self._exposure_insert
        if names is None:
            connection.exec_driver_sql(text, [rows.current_columns(row) for row in exposures])
        else:
            connection.exec_driver_sql(text, [tuple([row.get(name) for name in names]) for row in exposures])

    @cached_property
    def _exposure_insert(self) -> tuple[str, tuple[str, ...] | None]:
        """The SQL, and the order of its parameters where they are positional."""
        skip = self._insert(EXPOSURES).on_conflict_do_nothing(index_elements=["exposure_id"])
        compiled = skip.compile(dialect=self.engine.dialect, column_keys=list(rows.EXPOSURE_COLUMNS))
        names = compiled.positiontup if compiled.positional else None
        return str(compiled), None if names is None else tuple(names)

    def append(self, kind: str, subject: str, data: dict[str, Any], *, at: float | None = None) -> None:
        """Append an entry to the journal."""
        with self.transaction() as connection:
            insert_entry(connection, JournalEntry(time.time() if at is None else at, kind, subject, data))

    def delete(self, table: Table, condition: ColumnElement[bool]) -> int:
        """Delete rows of ``table`` in small transactions, with others between them; returns their number."""
        total = 0
        while True:
            chosen = select(table.c.seq).where(condition).limit(DELETED_ROWS)
            with self.transaction() as connection:
                count = connection.execute(delete(table).where(table.c.seq.in_(chosen))).rowcount
            total += count
            if count < DELETED_ROWS:
                return total

    def save_experiment(
        self, state: ExperimentState, *, expected: int, actor: str, reason: str = "", at: float | None = None
    ) -> ExperimentState:
        """Store ``state`` as revision ``expected`` + 1 (``expected`` 0 for a new experiment), with an "audit"
        entry in the same transaction.

        The slot ranges are derived here from the previous revision, so that as few users as possible change
        arms.

        Raises:
            Conflict: the newest revision is not ``expected``.
            InputError: invalid shares.
        """
        now = time.time() if at is None else at
        before = self.experiment(state.name)
        state = reallocate(replace(state, revision=expected + 1), before)
        row = {"name": state.name, "revision": state.revision, "at": now, "actor": actor}
        if (before.revision if before else 0) != expected:
            raise Conflict(before)
        try:
            with self.transaction() as connection:
                connection.execute(insert(EXPERIMENTS), row | {"state": rows.state_text(state)})
                change = {"actor": actor, "reason": reason, "revision": state.revision}
                change |= {"before": asdict(before) if before else None, "after": asdict(state)}
                insert_entry(connection, JournalEntry(now, "audit", state.name, change))
        except IntegrityError:
            raise Conflict(self.experiment(state.name)) from None
        return state

    def require_tables(self) -> None:
        """Create the tables of a replaced SQLite file. Raises ``StoreGone`` where the file is missing."""
        if self._watch.check():
            self.create_tables()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction of the one writer at a time: rows are committed in the order of ``seq``. Every write
        goes through it.

        Raises:
            StoreGone: the SQLite file was moved or deleted, before or meanwhile; an open connection would go
                on writing to a file without a name.
        """
        self.require_tables()
        with self.engine.begin() as connection:
            if self.postgres:
                connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            yield connection
        if self._watch.check():
            self.create_tables()
            raise StoreGone("the event store was replaced while it was written")


@contextlib.contextmanager
def open_store(url: str) -> Iterator[EventStore]:
    """The event store at ``url`` with its tables, closed at the end."""
    store = EventStore(url)
    try:
        store.create_tables()
        yield store
    finally:
        store.close()


def _check_duplicates(connection: Connection, feedback: Sequence[Feedback], new: set[str]) -> None:
    """Compare events that were not newly stored exactly once with the stored ones of the same id.

    ``at`` may differ (by default it is the time of each attempt), as may ``predicted``, which we compute.
    """
    counts = Counter(event.event_id for event in feedback)
    doubtful = [name for name, count in counts.items() if count > 1 or name not in new]
    stored: dict[str, tuple[Any, ...]] = {}
    columns = [FEEDBACK.c[name] for name in CONTENT_FIELDS]
    for first in range(0, len(doubtful), QUERY_IDS):
        names = doubtful[first : first + QUERY_IDS]
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


def insert_entry(connection: Connection, entry: JournalEntry) -> None:
    """Append ``entry`` to the journal in the caller's transaction."""
    row = {"at": entry.at, "kind": entry.kind, "subject": entry.subject, "data": json.dumps(entry.data)}
    connection.execute(insert(JOURNAL), row)
