"""Queries of the event store: experiments, exposures, feedback and the journal, in chunks."""

from __future__ import annotations

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
        """The latest revision of an experiment."""
        history = self.experiment_history(name, count=1)
        return history[0] if history else None

    def experiments(self) -> list[ExperimentState]:
        """The latest revision of each experiment, by name."""
        newest = select(EXPERIMENTS.c.name, func.max(EXPERIMENTS.c.revision).label("revision"))
        latest = newest.group_by(EXPERIMENTS.c.name).subquery()
        query = select(EXPERIMENTS.c.state).join(
            latest,
            (EXPERIMENTS.c.name == latest.c.name) & (EXPERIMENTS.c.revision == latest.c.revision),
        )
        with self.engine.connect() as connection:
            return [rows.state_from(text) for text in connection.scalars(query.order_by(EXPERIMENTS.c.name))]

    def experiment_history(self, name: str, *, count: int = 100) -> list[ExperimentState]:
        """Revisions of an experiment, newest first."""
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
        """Exposures with since <= at < until and ``seq`` > ``after``, in the order of ``seq``."""
        selected = self._filtered(EXPOSURES, since, until, after, experiment=experiment, user_id=user_id)
        return map(rows.exposure_from, selected)

    def feedback(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        kind: str | None = None,
        user_id: str | None = None,
        after: int = 0,
    ) -> Iterator[Feedback]:
        """Feedback with since <= at < until and ``seq`` > ``after``, in the order of ``seq``."""
        return map(
            rows.feedback_from, self._filtered(FEEDBACK, since, until, after, kind=kind, user_id=user_id)
        )

    def numbered_feedback(
        self, *, since: float | None = None, kind: str | None = None, after: int = 0
    ) -> Iterator[tuple[int, Feedback]]:
        """As ``feedback``, each with its ``seq`` for the next poll."""
        for row in self._filtered(FEEDBACK, since, None, after, kind=kind):
            yield row.seq, rows.feedback_from(row)

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
        """Journal entries with since <= at < until and ``seq`` > ``after``, in the order of ``seq``."""
        return map(rows.entry_from, self._filtered(JOURNAL, since, until, after, kind=kind, subject=subject))

    def _filtered(
        self, table: Table, since: float | None, until: float | None, after: int, **equal: str | None
    ) -> Iterator[Any]:
        """Rows with since <= at < until and the columns of ``equal`` at their values; None does not
        filter."""
        query = select(table).where(
            *(table.c[name] == value for name, value in equal.items() if value is not None)
        )
        if since is not None:
            query = query.where(table.c.at >= since)
        if until is not None:
            query = query.where(table.c.at < until)
        return self.chunks(query, table, after)

    def chunks(self, query: Select[Any], table: Table, after: int) -> Iterator[Any]:
        """Rows of ``query`` by ``seq``, a short query for each chunk, so that no reader holds a snapshot."""
        while True:
            page = query.where(table.c.seq > after).order_by(table.c.seq).limit(CHUNK)
            with self.engine.connect() as connection:
                chunk = connection.execute(page).all()
            yield from chunk
            if len(chunk) < CHUNK:
                return
            after = chunk[-1].seq
