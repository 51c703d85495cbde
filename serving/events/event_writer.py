"""Asynchronous event writer: one thread commits exposures and feedback to the event store in batches.

``add_exposure`` returns at once (the row is in the spool file). ``add_feedback`` returns a future that
completes when the feedback is committed: all callers that wait share the next commit, and its ``fsync``.
While the store is unavailable, feedback fails at once with ``StoreUnavailable`` (the API answers 503 and the
client retries, which is idempotent) and exposures wait, in memory up to ``queue`` and then in the spool. What
the spool cannot hold either is counted, and journalled as a "gap".
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from serving.domain import Exposure, Feedback
from serving.events import rows, spool
from serving.events.repeated_erasure import erased_by
from serving.events.store import EventConflict, EventStore

log = logging.getLogger(__name__)
BATCH_ROWS = 500  # exposures in one transaction
ROTATE_BYTES = 4 << 20  # of a spool file before rows go to the other one
MAX_WAIT_SECONDS = 2.0  # between attempts while the store is unavailable
# The events of one request, and the future that its handler waits for.
PendingFeedback = tuple[tuple[Feedback, ...], Future[set[str]]]
Rows = list[dict[str, Any]]


class StoreUnavailable(RuntimeError):
    """The event store cannot be written, or its queue is full; nothing was acknowledged."""

    def __init__(self, message: str = "the event store cannot be written at the moment") -> None:
        super().__init__(message)


class EventWriter:
    """One for each process. An exposure waits at most ``flush_seconds`` for its batch to fill."""

    def __init__(
        self, store: EventStore, *, folder: Path, queue: int = 20_000, flush_seconds: float = 0.1
    ) -> None:
        self._store = store
        self._folder = folder
        self._spool = spool.Spool(folder)
        self._queue = queue
        self._flush_seconds = flush_seconds
        self._exposures: deque[dict[str, Any]] = deque()
        self._feedback: deque[PendingFeedback] = deque()
        self._lock = threading.Condition()
        self._overflowed = False
        self._committed = 0  # exposures of the queue, in order
        self._rotated_at = 0  # the older spool file is empty once so many are committed
        self._closing = False
        self._down_since: float | None = None
        self.lost = 0
        self._gap: tuple[float, int] | None = None  # since when (Unix seconds), and how many
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Uncommitted exposures in memory."""
        return len(self._exposures)

    @property
    def available(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return self._down_since is None

    def add_exposure(self, exposure: Exposure, *, repeated: rows.RepeatedExposure | None = None) -> None:
        """Queue an exposure; neither blocks on the store nor fails with a full disk.

        A row that the spool cannot hold waits in memory; where the queue is full too, it is lost and counted.

        Args:
            exposure: the list that was shown.
            repeated: the list's columns, where they are encoded already.
        """
        if repeated is None:
            row = rows.exposure_row(exposure)
            encoded = json.dumps(row).encode()
        else:
            row, encoded = repeated.row(exposure), repeated.row_json(exposure)
        with self._lock:
            spooled = self._spool.append(encoded)
            if not spooled and len(self._exposures) >= self._queue:
                self.lost += 1
                since, count = self._gap or (exposure.at, 0)
                self._gap = (since, count + 1)
            elif len(self._exposures) < self._queue:
                self._exposures.append(row)
            else:
                self._overflowed = True
            if self._spool.active_size > ROTATE_BYTES and not self._overflowed:
                self._rotate()

    def add_feedback(self, feedback: Sequence[Feedback]) -> Future[set[str]]:
        """A future of the event ids that were new, done when they are committed. Raises StoreUnavailable."""
        future: Future[set[str]] = Future()
        with self._lock:
            if self._down_since is not None or len(self._feedback) >= self._queue:
                raise StoreUnavailable
            self._feedback.append((tuple(feedback), future))
            self._lock.notify()
        return future

    def close(self, timeout: float = 5.0) -> None:
        """Write the queues; what cannot be written in time stays in the spool for the next process."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._spool.close()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = 0.05
        recovered = False
        while True:
            with self._lock:
                down = self._down_since is not None
                full = len(self._exposures) >= BATCH_ROWS and not down
                if not self._feedback and not self._closing and not full:
                    self._lock.wait(wait if down else self._flush_seconds)
                feedback = [self._feedback.popleft() for _ in range(len(self._feedback))]
                exposures = [self._exposures[n] for n in range(min(BATCH_ROWS, len(self._exposures)))]
                closing = self._closing
            try:
                recovered = recovered or self._recover()
                self._write(exposures, feedback)
                self._settle(len(exposures))
                wait = 0.05
            except Exception as error:  # this thread must outlive whatever a database can raise
                self._failed(error, feedback)
                wait = min(MAX_WAIT_SECONDS, wait * 2)
                if closing:
                    return
                continue
            if closing and not self._exposures and not self._feedback:
                return

    def _write(self, exposures: Rows, feedback: list[PendingFeedback]) -> None:
        if not exposures and not feedback:
            if self._down_since is not None:
                self._store.ping()
            return
        try:
            new = self._store.add_rows(exposures, [event for group, _ in feedback for event in group])
        except EventConflict as conflict:
            self._write(exposures, _without_refused(feedback, conflict))
            return
        except Exception as error:
            if not _is_refusal(error):
                raise
            new = self._write_singly(exposures, feedback)
        for group, future in feedback:
            if not future.done():
                future.set_result({event.event_id for event in group} & new)
                new -= {event.event_id for event in group}

    def _write_singly(self, exposures: Rows, feedback: list[PendingFeedback]) -> set[str]:
        """Write row by row, after the store refused the batch: only invalid rows are left out."""
        new: set[str] = set()
        for row in exposures:
            try:
                self._store.add_rows([row], ())
            except Exception as error:
                if not _is_refusal(error):
                    raise
                self.lost += 1
                log.error("an exposure cannot be stored: %s", type(error).__name__)
        for group, future in feedback:
            try:
                new |= self._store.add_rows((), group)
            except Exception as error:
                if not _is_refusal(error) and not isinstance(error, EventConflict):
                    raise
                future.set_exception(error)
        return new

    def _settle(self, written: int) -> None:
        """Remove committed rows from the queue and, a whole file at a time, from the spool."""
        if self._down_since is not None:
            log.warning("the event store is back after %.0f s", time.monotonic() - self._down_since)
        with self._lock:
            self._down_since = None
            for _ in range(written):
                self._exposures.popleft()
            self._committed += written
            waiting = len(self._exposures)
            if not self._overflowed:
                if not waiting:
                    self._spool.clear()
                elif self._committed >= self._rotated_at:
                    self._spool.clear_older()
        if self._overflowed and waiting < BATCH_ROWS:
            self._drain_spool()
        if self._gap is not None and not waiting:
            (since, count), self._gap = self._gap, None
            self._store.append("gap", "exposures", {"since": since, "lost": count})

    def _drain_spool(self) -> None:
        """Store the rows that only the spool holds; those that are queued too count once. New rows go to the
        other file meanwhile, and set the flag again where the queue overflows."""
        before = self._spool.broken
        self._store_older_rows()
        with self._lock:
            self._overflowed = False
            self._rotate()
        self._store_older_rows()
        self._note_broken(self._spool.broken - before)

    def _store_older_rows(self) -> None:
        for chunk in self._spool.older_rows(rows.is_exposure_row):
            self._write(chunk, [])
        with self._lock:
            self._spool.clear_older()

    def _rotate(self) -> None:
        if self._spool.rotate():
            self._rotated_at = self._committed + len(self._exposures)

    def _recover(self) -> bool:
        """Store the spool files of processes that were killed, but rows of users erased since; True when
        done."""
        self._store.create_tables()
        with spool.abandoned(self._folder) as paths:
            erased = erased_by(self._store) if paths else None
            for path in paths:
                count = 0
                damage = spool.Damage()
                for chunk in spool.read(path, damage, rows.is_exposure_row):
                    kept = [row for row in chunk if erased and not erased(row["user_id"], row["at"])]
                    self._write(kept, [])
                    count += len(kept)
                self._note_broken(damage.broken)
                path.unlink()
                if count:
                    log.warning("recovered %d exposures of a process that was killed", count)
        return True

    def _note_broken(self, count: int) -> None:
        """Count and journal damaged spool records as a gap."""
        if count:
            log.error("%d damaged spool records were set aside", count)
            self.lost += count
            self._store.append("gap", "exposures", {"since": time.time(), "lost": count, "damaged": True})

    def _failed(self, error: Exception, feedback: list[PendingFeedback]) -> None:
        if self._down_since is None:
            log.error("the event store cannot be written: %s", _reason(error))
            self._down_since = time.monotonic()
        with self._lock:
            feedback.extend(self._feedback)
            self._feedback.clear()
        for _, future in feedback:
            if not future.done():
                future.set_exception(StoreUnavailable())


def _without_refused(feedback: list[PendingFeedback], conflict: EventConflict) -> list[PendingFeedback]:
    """The requests that can be stored; the futures of the others fail with their refused events."""
    accepted = []
    first = 0
    for group, future in feedback:
        refused = [group[n - first].event_id for n in conflict.indices if first <= n < first + len(group)]
        first += len(group)
        if not refused:
            accepted.append((group, future))
        elif not future.done():
            future.set_exception(EventConflict(refused, ()))
    return accepted


def _is_refusal(error: Exception) -> bool:
    """Whether the store is up but rejects these values, so that a retry would not help."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, StatementError | ValueError | TypeError | OverflowError)


def _reason(error: Exception) -> str:
    """Its type and first line; never the statement, which holds users' data."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
