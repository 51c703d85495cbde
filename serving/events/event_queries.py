"""Reads of the event store: experiments, exposures, feedback, the journal; in chunks, oldest first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, Select, Table, func, select

from serving.domain import ExperimentState, Exposure, Feedback
from serving.events import rows
from serving.events.event_tables import EXPERIMENTS, EXPOSURES, FEEDBACK, JOURNAL
from serving.events.rows import JournalEntry

CHUNK = 5_000  # rows held in memory by a reader


class EventQueries:
    """Reads through ``engine``. Calls block."""

    engine: Engine

    def experiment(self, name: str) -> ExperimentState | None:
        """Its latest revision."""
        history = self.experiment_history(name, count=1)
        return history[0] if history else None

    def experiments(self) -> list[ExperimentState]:
        """The latest revision of each, by name."""
        newest = select(EXPERIMENTS.c.name, func.max(EXPERIMENTS.c.revision).label("revision"))
        latest = newest.group_by(EXPERIMENTS.c.name).subquery()
        query = select(EXPERIMENTS.c.state).join(
            latest,
            (EXPERIMENTS.c.name == latest.c.name) & (EXPERIMENTS.c.revision == latest.c.revision),
        )
        with self.engine.connect() as connection:
            return [rows.state_from(text) for text in connection.scalars(query.order_by(EXPERIMENTS.c.name))]

    def experiment_history(self, name: str, *, count: int = 100) -> list[ExperimentState]:
        """Newest first."""
        query = select(EXPERIMENTS.c.state).where(EXPERIMENTS.c.name == name)
        query = query.order_by(EXPERIMENTS.c.revision.desc()).limit(count)
        with self.engine.connect() as connection:
            return [rows.state_from(text) for text in connection.scalars(query)]

    def exposures(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        experiment: str | None = None,
        user_id: str | None = None,
        after: int = 0,
    ) -> Iterator[Exposure]:
        """Those with since <= at < until, oldest stored first, a chunk at a time."""
        query = _between(select(EXPOSURES), EXPOSURES, since, until)
        if experiment is not None:
            query = query.where(EXPOSURES.c.experiment == experiment)
        if user_id is not None:
            query = query.where(EXPOSURES.c.user_id == user_id)
        return (rows.exposure_from(row) for row in self._chunks(query, EXPOSURES, after))

    def exposure(self, exposure_id: str) -> Exposure | None:
        with self.engine.connect() as connection:
            row = connection.execute(select(EXPOSURES).where(EXPOSURES.c.exposure_id == exposure_id)).first()
        return None if row is None else rows.exposure_from(row)

    def feedback(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        kind: str | None = None,
        user_id: str | None = None,
        after: int = 0,
    ) -> Iterator[Feedback]:
        """Those with since <= at < until, oldest stored first, a chunk at a time."""
        numbered = self.numbered_feedback(since=since, until=until, kind=kind, user_id=user_id, after=after)
        return (row for _, row in numbered)

    def numbered_feedback(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        kind: str | None = None,
        user_id: str | None = None,
        after: int = 0,
    ) -> Iterator[tuple[int, Feedback]]:
        """As ``feedback``, each with its ``seq``: what a poller remembers."""
        query = _between(select(FEEDBACK), FEEDBACK, since, until)
        if kind is not None:
            query = query.where(FEEDBACK.c.kind == kind)
        if user_id is not None:
            query = query.where(FEEDBACK.c.user_id == user_id)
        return ((row.seq, rows.feedback_from(row)) for row in self._chunks(query, FEEDBACK, after))

    def joined(
        self, *, experiment: str, since: float | None = None, until: float | None = None, after: int = 0
    ) -> Iterator[tuple[Feedback, Exposure]]:
        """Feedback with the exposure that it answers, for one experiment; times are the feedback's."""
        columns = [*FEEDBACK.c, *(column.label(f"x_{column.name}") for column in EXPOSURES.c)]
        query = select(*columns).join(EXPOSURES, EXPOSURES.c.exposure_id == FEEDBACK.c.exposure_id)
        query = _between(query, FEEDBACK, since, until).where(EXPOSURES.c.experiment == experiment)
        for row in self._chunks(query, FEEDBACK, after):
            yield rows.feedback_from(row), rows.exposure_from(_Prefixed(row))

    def newest_entry(self) -> int:
        """``seq`` of the journal's last entry, 0 for none."""
        with self.engine.connect() as connection:
            return connection.execute(select(func.max(JOURNAL.c.seq))).scalar() or 0

    def journal(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: int = 0,
    ) -> Iterator[JournalEntry]:
        """Oldest first, a chunk at a time."""
        query = _between(select(JOURNAL), JOURNAL, since, until)
        if kind is not None:
            query = query.where(JOURNAL.c.kind == kind)
        if subject is not None:
            query = query.where(JOURNAL.c.subject == subject)
        for row in self._chunks(query, JOURNAL, after):
            yield JournalEntry(row.at, row.kind, row.subject, json.loads(row.data), row.seq)

    def _chunks(self, query: Select[Any], table: Table, after: int) -> Iterator[Any]:
        """Rows by ``seq``, a new short query for each chunk, so that no reader holds a snapshot open."""
        while True:
            page = query.where(table.c.seq > after).order_by(table.c.seq).limit(CHUNK)
            with self.engine.connect() as connection:
                chunk = connection.execute(page).all()
            yield from chunk
            if len(chunk) < CHUNK:
                return
            after = chunk[-1].seq


class _Prefixed:
    """A joined row seen as its exposure half."""

    def __init__(self, row: Any) -> None:
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, f"x_{name}")


def _between(query: Select[Any], table: Table, since: float | None, until: float | None) -> Select[Any]:
    if since is not None:
        query = query.where(table.c.at >= since)
    return query if until is None else query.where(table.c.at < until)
