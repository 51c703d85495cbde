"""Sends a journal to MLflow from a background thread, retrying for as long as it takes.

What is waiting of one trial goes in one batch. Where the server is away the thread
waits, longer each time, and starts where it stopped; what is left when the run ends stays in the
journal, and goes with the next run beside it or with ``python -m search.tracking runs/NAME``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from recsys.types import JsonObject
from search.tracking.mlflow_writer import MlflowWriter
from search.tracking.outbox import FOLDER, JOURNAL, Outbox, SendPosition

log = logging.getLogger(__name__)

FLUSH_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0
LOCK_S = 5.0
PATIENCE_S = 5.0  # with a server that does not answer, where somebody waits for it
WINDOW = 500  # entries read at a time
REFUSED, NOT_FOUND = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"  # MLflow's error codes


class NullSender:
    """In place of a sender where the journal is sent from another machine."""

    problem = ""
    silence = "MLflow is spoken to from the machine that rented this one"

    def wake(self) -> None:
        """Nobody sleeps here."""

    def answer(self, release_id: str, deadline_s: float) -> JsonObject | None:
        return None

    def close(self, deadline_s: float) -> int:
        return 0


class Sender:
    """One run's journal on its way to ``uri``. ``beside`` are journals of earlier runs to send after it."""

    silence = "MLflow did not answer in time"

    def __init__(
        self, journal: Outbox, uri: str, *, artifacts: Path, beside: Callable[[], list[Path]]
    ) -> None:
        self._journal, self._uri, self._artifacts, self._beside = journal, uri, artifacts, beside
        self._store: MlflowWriter | None = None
        self._cursor = SendPosition(journal, uri)
        self._changed = threading.Condition()
        self._closing = False
        self._urgent = False
        self._over = threading.Event()  # the deadline of close() has passed
        self._unsure = True
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Send now rather than at the next round."""
        with self._changed:
            self._urgent = True
            self._changed.notify_all()

    def answer(self, release_id: str, deadline_s: float) -> JsonObject | None:
        """What came of registering a release, waiting at most ``deadline_s``, and not that long for a
        server that is away; None when it is not known."""
        patience = time.monotonic() + min(PATIENCE_S, deadline_s)
        self.wake()

        def answered_or_failed() -> bool:
            away = bool(self.problem) and time.monotonic() > patience
            return release_id in self._cursor.answers or away or not self._thread.is_alive()

        with self._changed:
            self._changed.wait_for(answered_or_failed, timeout=deadline_s)
            answer: JsonObject | None = self._cursor.answers.get(release_id)
            return answer

    def close(self, deadline_s: float) -> int:
        """Send for at most ``deadline_s``, then stop. Returns the bytes still unsent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(deadline_s)
        self._over.set()
        return self._journal.size() - self._cursor.offset

    def _run(self) -> None:
        try:
            if not self._acquire():
                self.problem = "another process is sending this run"
                return
            self._unsure = not self._cursor.fresh
            if self._send_until_closed():
                self._send_older()
        except Exception as error:  # a full disk under the state file, or a bug: never the run's concern
            self.problem = type(error).__name__
            log.warning("tracking stopped: %s; the journal is kept in %s", self.problem, self._journal.folder)
        finally:
            self._cursor.release()

    def _acquire(self) -> bool:
        """Acquire the sending lock; a sender that was just stopped may hold it for a moment."""
        end = time.monotonic() + LOCK_S
        while not self._cursor.acquire():
            if time.monotonic() > end or self._over.wait(0.1):
                return False
        return True

    def _send_until_closed(self) -> bool:
        """Whether everything was sent."""
        wait_s = FIRST_WAIT_S
        while not self._over.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._urgent, timeout=FLUSH_S)
                self._urgent = False
                closing = self._closing
            try:
                self._send(self._journal, self._cursor)
                self.problem, wait_s = "", FIRST_WAIT_S
                if closing:
                    return True
            except Exception as error:  # the text may hold the address: only the type is logged
                if not self.problem:
                    log.warning("MLflow cannot be reached (%s): the run goes on", type(error).__name__)
                self.problem = type(error).__name__
                self._unsure = True
                with self._changed:
                    self._changed.notify_all()
                    if not closing:
                        self._changed.wait_for(lambda: self._closing, timeout=wait_s)
                if closing:
                    self._over.wait(min(wait_s, FIRST_WAIT_S))
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        return False

    def _send(self, journal: Outbox, cursor: SendPosition) -> None:
        for groups, offset in windows(journal, cursor.offset):
            if self._store is None:
                self._store = MlflowWriter(self._uri, artifacts=self._artifacts)
            for entries in groups:
                try:
                    self._store.apply(entries, cursor, run_folder=journal.run_folder, unsure=self._unsure)
                except Exception as error:
                    code = getattr(error, "error_code", "")
                    if code == NOT_FOUND and cursor.ids:  # the store was emptied: everything goes again
                        cursor.clear()
                        raise
                    if code != REFUSED:
                        raise
                    log.warning("MLflow refused what was told of %s; it is left out", entries[0]["key"])
                cursor.save()
                with self._changed:
                    self._changed.notify_all()
            cursor.offset = offset
            cursor.save()

    def _send_older(self) -> None:
        """The entries that earlier runs could not send to this address."""
        for folder in self._beside():
            journal = Outbox(folder)
            cursor = SendPosition(journal, self._uri)
            if not cursor.acquire():
                continue
            try:
                if not cursor.fresh and cursor.offset < journal.size():
                    self._unsure = True
                    self._send(journal, cursor)
            finally:
                cursor.release()


def windows(journal: Outbox, start: int) -> Iterator[tuple[list[list[JsonObject]], int]]:
    """Entries from ``start`` on, some hundred at a time: grouped by key, in order within a key, and the
    offset after them. Trials run beside each other, so a group is what saves calls."""
    groups: dict[str, list[JsonObject]] = {}
    count, end = 0, start
    for entry, offset in journal.read(start):
        groups.setdefault(entry["key"], []).append(entry)
        count, end = count + 1, offset
        if count == WINDOW:
            yield list(groups.values()), end
            groups, count = {}, 0
    if groups:
        yield list(groups.values()), end


def runs_beside(folder: Path) -> list[Path]:
    """Run folders next to ``folder`` that have a journal, oldest first."""
    folders = [path.parent.parent for path in folder.parent.glob(f"*/{FOLDER}/{JOURNAL}")]
    return sorted((path for path in folders if path != folder), key=lambda path: path.stat().st_mtime)
