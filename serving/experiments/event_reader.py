"""Incremental reader of the event store: adds the rows that are new since the last call to aggregates.

An exposure may be stored a moment after the feedback on it (two replicas, two batches), so feedback without
an exposure waits ``EXPOSURE_WAIT_SECONDS`` before it counts as unknown. Which events belong to a revision is
decided by the revision, not by their times: the clock may be set back after it was stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import exists, or_, select

from serving.domain import Exposure, Feedback
from serving.events.event_tables import EXPOSURES, FEEDBACK
from serving.events.rows import exposure_from, feedback_from
from serving.events.store import EventStore
from serving.experiments.aggregates import Aggregates

EXPOSURE_WAIT_SECONDS = 60.0
CLOCK_STEP_SECONDS = 86_400.0  # by which a clock may have been set back since ``since``


@dataclass
class EventReader:
    """Keeps one experiment's aggregates up to date. Not thread-safe.

    Reads exposures of ``revision`` or later, which was stored at ``since`` (Unix seconds; 0 for all times);
    ``also`` is called with each of them, shadow exposures included."""

    store: EventStore
    experiment: str
    aggregates: Aggregates
    since: float = 0.0
    revision: int = 0
    also: Callable[[Exposure], None] | None = None
    _exposures_seen: int = 0
    _feedback_seen: int = 0
    _waiting: list[Feedback] = field(default_factory=list)

    def catch_up(self, now: float) -> Aggregates:
        """Read new rows; ``now`` decides which feedback has waited long enough."""
        conditions = (EXPOSURES.c.experiment == self.experiment, EXPOSURES.c.revision >= self.revision)
        earliest = self.since - CLOCK_STEP_SECONDS
        exposures = select(EXPOSURES).where(EXPOSURES.c.at >= earliest, *conditions)
        for row in self.store.chunks(exposures, EXPOSURES, self._exposures_seen):
            self._exposures_seen = row.seq
            exposure = exposure_from(row, scores=False)
            self.aggregates.add_exposure(exposure)
            if self.also is not None:
                self.also(exposure)
        waiting, self._waiting = self._waiting, []
        events = select(FEEDBACK).where(FEEDBACK.c.at >= earliest)
        if self.since:  # of what an earlier clock dates before it, feedback on the revision's own lists
            answered = exists().where(EXPOSURES.c.exposure_id == FEEDBACK.c.exposure_id, *conditions)
            events = events.where(or_(FEEDBACK.c.at >= self.since, answered))
        for row in self.store.chunks(events, FEEDBACK, self._feedback_seen):
            self._feedback_seen = row.seq
            feedback = feedback_from(row)
            if feedback.exposure_id is None:
                self.aggregates.add_feedback(feedback, None)
            else:
                waiting.append(feedback)
        for start in range(0, len(waiting), 500):
            self._match(waiting[start : start + 500], now)
        return self.aggregates

    def _match(self, rows: list[Feedback], now: float) -> None:
        ids = [row.exposure_id for row in rows]
        with self.store.engine.connect() as connection:
            stored = connection.execute(select(EXPOSURES).where(EXPOSURES.c.exposure_id.in_(ids))).all()
        exposures = {row.exposure_id: row for row in stored}
        for feedback in rows:
            row = exposures.get(feedback.exposure_id)
            # An exposure stored since this call began is read by the next, before its feedback.
            unseen = row is not None and self._counts(row) and row.seq > self._exposures_seen
            if unseen or (row is None and abs(now - feedback.at) < EXPOSURE_WAIT_SECONDS):
                self._waiting.append(feedback)
            elif row is None or self._counts(row):
                self.aggregates.add_feedback(
                    feedback, None if row is None else exposure_from(row, scores=False)
                )

    def _counts(self, row: Any) -> bool:
        counted: bool = row.experiment == self.experiment and row.revision >= self.revision
        return counted
