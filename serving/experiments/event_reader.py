"""Incremental reader of the event store: adds the rows that are new since the last call to aggregates.

An exposure may be stored a moment after the feedback on it (two replicas, two batches), so feedback without
an exposure waits ``EXPOSURE_WAIT_SECONDS`` before it counts as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from serving.domain import Exposure, Feedback
from serving.events.event_tables import EXPOSURES, FEEDBACK
from serving.events.rows import exposure_from, feedback_from
from serving.events.store import EventStore
from serving.experiments.aggregates import Aggregates

PAGE_ROWS = 5_000
EXPOSURE_WAIT_SECONDS = 60.0


@dataclass
class EventReader:
    """Keeps one experiment's aggregates up to date. Not thread-safe.

    Reads exposures of ``revision`` or later, made at ``since`` or later; ``also`` is called with each of
    them, shadow exposures included."""

    store: EventStore
    experiment: str
    tally: Aggregates
    since: float = 0.0
    revision: int = 0
    also: Callable[[Exposure], None] | None = None
    _exposures_seen: int = 0
    _feedback_seen: int = 0
    _waiting: list[Feedback] = field(default_factory=list)

    def catch_up(self, now: float) -> Aggregates:
        """Read new rows; ``now`` decides which feedback has waited long enough."""
        conditions = (EXPOSURES.c.experiment == self.experiment, EXPOSURES.c.revision >= self.revision)
        for row in self._pages(EXPOSURES, "_exposures_seen", *conditions):
            exposure = exposure_from(row, scores=False)
            self.tally.add_exposure(exposure)
            if self.also is not None:
                self.also(exposure)
        waiting, self._waiting = self._waiting, []
        for row in self._pages(FEEDBACK, "_feedback_seen"):
            feedback = feedback_from(row)
            if feedback.exposure_id is None:
                self.tally.add_feedback(feedback, None)
            else:
                waiting.append(feedback)
        for start in range(0, len(waiting), 500):
            self._match(waiting[start : start + 500], now)
        return self.tally

    def _match(self, rows: list[Feedback], now: float) -> None:
        ids = [row.exposure_id for row in rows]
        with self.store.engine.connect() as connection:
            stored = connection.execute(select(EXPOSURES).where(EXPOSURES.c.exposure_id.in_(ids))).all()
        exposures = {row.exposure_id: row for row in stored}
        for feedback in rows:
            row = exposures.get(feedback.exposure_id)
            # An exposure stored since this call began is read by the next, before its feedback.
            unseen = row is not None and self._counts(row) and row.seq > self._exposures_seen
            if unseen or (row is None and now - feedback.at < EXPOSURE_WAIT_SECONDS):
                self._waiting.append(feedback)
            elif row is None or self._counts(row):
                self.tally.add_feedback(feedback, None if row is None else exposure_from(row, scores=False))

    def _counts(self, row: Any) -> bool:
        counted: bool = row.experiment == self.experiment and row.revision >= self.revision
        return counted and row.at >= self.since

    def _pages(self, table: Any, seen: str, *conditions: Any) -> Iterator[Any]:
        """New rows by ``seq``; the database filters those that do not count."""
        while True:
            query = select(table).where(table.c.seq > getattr(self, seen), table.c.at >= self.since)
            query = query.where(*conditions).order_by(table.c.seq).limit(PAGE_ROWS)
            with self.store.engine.connect() as connection:
                rows = connection.execute(query).all()
            if rows:
                setattr(self, seen, rows[-1].seq)
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
