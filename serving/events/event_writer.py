"""Writes events off the request's path, in batches, by one thread.

``expose`` returns at once (the row is in the spool file). ``tell`` gives a future that is done when the
feedback is committed: everybody who waits shares the next commit, so a commit's ``fsync`` is paid once
for all of them. While the store is away, feedback fails at once with ``StoreUnavailable`` (the caller
says 503 and the client sends it again: it is idempotent) and exposures wait, in memory up to ``queue``
and beyond that in the spool. What even the spool cannot hold is counted, and journalled as a "gap".
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
from serving.events.store import EventConflict, EventStore

log = logging.getLogger(__name__)
BATCH_ROWS = 500  # exposures in one transaction
ROTATE_BYTES = 4 << 20  # of a spool file before rows go to the other one
MAX_WAIT_SECONDS = 2.0  # seconds between attempts while the store is away


class StoreUnavailable(RuntimeError):
    """The event store cannot be written now, or too much waits for it; nothing was acknowledged."""


class EventWriter:
    """One a process. ``flush_seconds`` is how long an exposure may wait for company."""

    def __init__(
        self, store: EventStore, *, folder: Path, queue: int = 20_000, flush_seconds: float = 0.1
    ) -> None:
        self._store = store
        self._folder = folder
        self._spool = spool.Spool(folder)
        self._queue = queue
        self._flush_seconds = flush_seconds
        self._exposures: deque[dict[str, Any]] = deque()
        self._feedback: deque[tuple[tuple[Feedback, ...], Future[set[str]]]] = deque()
        self._lock = threading.Condition()
        self._overflowed = False
        self._committed = 0  # exposures of the queue, in order
        self._rotated_at = 0  # how many must be committed before the older spool file is empty
        self._closing = False
        self._away_since: float | None = None
        self.lost = 0
        self._gap: tuple[float, int] | None = None
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Exposures not yet committed that are held in memory."""
        return len(self._exposures)

    @property
    def available(self) -> bool:
        return self._away_since is None

    def add_exposure(self, exposure: Exposure, *, repeated: rows.RepeatedExposure | None = None) -> None:
        """Records an answer; neither blocks on the store nor fails with a full disk.

        A row that the spool cannot keep still waits in memory where there is room. Without it, it is lost,
        and counted.

        Args:
            exposure: the answer.
            repeated: its list's columns, where they are encoded already.
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
                self._gap = (
                    self._gap[0] if self._gap else exposure.at,
                    (self._gap[1] if self._gap else 0) + 1,
                )
            elif len(self._exposures) < self._queue:
                self._exposures.append(row)
            else:
                self._overflowed = True
            if self._spool.active_size > ROTATE_BYTES and not self._overflowed:
                self._rotate()

    def add_feedback(self, feedback: Sequence[Feedback]) -> Future[set[str]]:
        """The event ids that were new, once they are committed. Raises ``StoreUnavailable``."""
        future: Future[set[str]] = Future()
        with self._lock:
            if self._away_since is not None or len(self._feedback) >= self._queue:
                raise StoreUnavailable("the event store cannot be written at the moment")
            self._feedback.append((tuple(feedback), future))
            self._lock.notify()
        return future

    def close(self, timeout: float = 5.0) -> None:
        """Writes what waits. What cannot be written in time stays in the spool for the next process."""
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
                away = self._away_since is not None
                full = len(self._exposures) >= BATCH_ROWS and not away
                if not self._feedback and not self._closing and not full:
                    self._lock.wait(wait if away else self._flush_seconds)
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

    def _write(
        self,
        exposures: list[dict[str, Any]],
        feedback: list[tuple[tuple[Feedback, ...], Future[set[str]]]],
    ) -> None:
        if not exposures and not feedback:
            if self._away_since is not None:
                self._store.ping()
            return
        try:
            new = self._store.add_rows(exposures, [event for group, _ in feedback for event in group])
        except EventConflict as conflict:
            self._write(exposures, _without_refused(feedback, conflict))
            return
        except Exception as error:
            if not _refused(error):
                raise
            new = self._one_by_one(exposures, feedback)
        for group, future in feedback:
            if not future.done():
                future.set_result({event.event_id for event in group} & new)
                new -= {event.event_id for event in group}

    def _store_rows(self, exposures: list[dict[str, Any]]) -> None:
        """Spooled rows; one that the store cannot take does not hold up the others."""
        try:
            self._store.add_rows(exposures, ())
        except Exception as error:
            if not _refused(error):
                raise
            self._one_by_one(exposures, [])

    def _one_by_one(
        self,
        exposures: list[dict[str, Any]],
        feedback: list[tuple[tuple[Feedback, ...], Future[set[str]]]],
    ) -> set[str]:
        """The store is there but refuses the batch: only the rows that it cannot take are left out."""
        new: set[str] = set()
        for row in exposures:
            try:
                self._store.add_rows([row], ())
            except Exception as error:
                if not _refused(error):
                    raise
                self.lost += 1
                log.error("an exposure cannot be stored: %s", type(error).__name__)
        for group, future in feedback:
            try:
                new |= self._store.add_rows((), group)
            except Exception as error:
                if not _refused(error) and not isinstance(error, EventConflict):
                    raise
                future.set_exception(error)
        return new

    def _settle(self, written: int) -> None:
        """What was committed leaves the queue and, a file at a time, the spool."""
        if self._away_since is not None:
            log.warning("the event store is back after %.0f s", time.monotonic() - self._away_since)
        with self._lock:
            self._away_since = None
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
        """Stores rows that went to the files alone; those that are also in the queue count once. Rows that
        come meanwhile go to the other file, and set the flag again where the queue cannot hold them."""
        before = self._spool.broken
        self._store_older_rows()
        with self._lock:
            self._overflowed = False
            self._rotate()
        self._store_older_rows()
        self._note_broken(self._spool.broken - before)

    def _store_older_rows(self) -> None:
        for chunk in self._spool.older_rows(rows.is_exposure_row):
            self._store_rows(chunk)
        with self._lock:
            self._spool.clear_older()

    def _rotate(self) -> None:
        if self._spool.rotate():
            self._rotated_at = self._committed + len(self._exposures)

    def _recover(self) -> bool:
        self._store.create_tables()
        with spool.abandoned(self._folder) as paths:
            for path in paths:
                count = 0
                damage = spool.Damage()
                for chunk in spool.read(path, damage, rows.is_exposure_row):
                    self._store_rows(chunk)
                    count += len(chunk)
                self._note_broken(damage.broken)
                path.unlink()
                if count:
                    log.warning("recovered %d exposures of a process that was killed", count)
        return True

    def _note_broken(self, count: int) -> None:
        """Counts and journals the damaged records of a spool file as a gap."""
        if count:
            log.error("%d damaged spool records were set aside", count)
            self.lost += count
            self._store.append("gap", "exposures", {"since": time.time(), "lost": count, "damaged": True})

    def _failed(
        self, error: Exception, feedback: list[tuple[tuple[Feedback, ...], Future[set[str]]]]
    ) -> None:
        if self._away_since is None:
            log.error("the event store cannot be written: %s", _reason(error))
            self._away_since = time.monotonic()
        with self._lock:
            feedback.extend(self._feedback)
            self._feedback.clear()
        for _, future in feedback:
            if not future.done():
                future.set_exception(StoreUnavailable("the event store cannot be written at the moment"))


def _without_refused(
    feedback: list[tuple[tuple[Feedback, ...], Future[set[str]]]], conflict: EventConflict
) -> list[tuple[tuple[Feedback, ...], Future[set[str]]]]:
    """The bodies that can be stored; the others learn which of their events cannot."""
    kept = []
    first = 0
    for group, future in feedback:
        refused = [group[n - first].event_id for n in conflict.indices if first <= n < first + len(group)]
        first += len(group)
        if not refused:
            kept.append((group, future))
        elif not future.done():
            future.set_exception(EventConflict(refused, ()))
    return kept


def _refused(error: Exception) -> bool:
    """The store is there but cannot take these values: trying again would not help."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, StatementError | ValueError | TypeError | OverflowError)


def _reason(error: Exception) -> str:
    """Its kind and first line: never the statement, which holds what users did."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
