"""Custody of user data: retention by age, a user's export and erasure, backup and restore."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select, true

from recsys.erasure_ledger import Erasure, append_to_ledger
from recsys.errors import InputError
from recsys.io import atomic_path
from recsys.pseudonyms import fingerprint, pseudonym, pseudonym_key
from recsys.types import JsonObject
from serving.events.event_tables import EXPOSURES, FEEDBACK, JOURNAL
from serving.events.repeated_erasure import repeat_erasures
from serving.events.spool import erase_lines, spool_folder
from serving.events.store import EventStore
from serving.events.tester_overrides import erase_overrides

DAY = 86_400.0
ERASE_SECONDS = 10.0


def retain(store: EventStore, *, days: float, now: float | None = None) -> dict[str, int]:
    """Delete exposures and feedback older than ``days``; returns the deleted rows by table.

    Age is counted to at most a day after the store's newest row: a clock that is far ahead deletes nothing
    too early, and an idle store catches up by a day a call.
    """
    if days <= 0:
        raise InputError(f"expected a positive number of days to keep, got {days:g}")
    now = min(time.time() if now is None else now, _newest_time(store) + DAY)
    before = now - days * DAY
    deleted = {table.name: store.delete(table, table.c.at < before) for table in (EXPOSURES, FEEDBACK)}
    store.append("retention", "events", {"days": days, "before": before, "deleted": deleted}, at=now)
    _empty_log(store)
    return deleted


def export(store: EventStore, user_id: str) -> Iterator[JsonObject]:
    """All stored data of a user, oldest first, each row with its table."""
    for exposure in store.exposures(user_id=user_id):
        yield {"table": "exposures", **exposure.__dict__}
    for feedback in store.feedback(user_id=user_id):
        yield {"table": "feedback", **feedback.__dict__}
    for state in store.experiments():
        if user_id in state.overrides:
            yield {"table": "experiments", "experiment": state.name, "override": state.overrides[user_id]}


def erase(
    store: EventStore, user_id: str, *, spool: Path | None = None, now: float | None = None
) -> dict[str, int]:
    """Delete all data of a user, also while a server uses the store.

    Besides rows that is: test overrides in every revision and audit entry, rows in spool files, and SQLite's
    write-ahead log (``secure_delete`` overwrites the rest). The journal records the erasure under a keyed
    hash of the id; replicas drop the user's ratings when they read that entry. Later events count again.

    Args:
        store: the server's event store.
        user_id: the external id.
        spool: the server's spool folder where its settings name one.
        now: Unix seconds of the erasure.

    Returns:
        Deleted rows by table, and overrides.

    Raises:
        InputError: the log or a spool file is still in use after ``ERASE_SECONDS``; all rows are deleted, and
            a
            second call removes the rest.
    """
    deleted = {table.name: 0 for table in (EXPOSURES, FEEDBACK)}
    key = pseudonym_key(store.url)
    # No earlier than the user's rows: a clock that was set back would leave some of them in a backup.
    at = max(time.time() if now is None else now, _newest_time(store, user_id))
    erasure = Erasure(pseudonym(user_id, key), at, fingerprint(key))
    append_to_ledger(store.url, [erasure])  # first: the next start completes an erasure that is cut short
    _delete_user(store, user_id, deleted)
    deleted["overrides"] = erase_overrides(store, user_id)
    store.append("erasure", erasure.subject, {"deleted": deleted, "key": erasure.key}, at=erasure.at)
    folder = spool_folder(store.url) if spool is None else spool
    ends = time.monotonic() + ERASE_SECONDS
    while not (erase_lines(folder, user_id) and _empty_log(store)):
        if time.monotonic() > ends:
            raise InputError(
                f"the rows of {user_id!r} are deleted, but the write-ahead log or a spool file in {folder} "
                "is still in use and may hold the id; run this again in a moment"
            )
        time.sleep(0.1)
        _delete_user(store, user_id, deleted)  # exposures of before the erasure that were committed since
    return deleted


def _newest_time(store: EventStore, user_id: str | None = None) -> float:
    """The latest time of the stored events (with ``user_id``: of theirs), Unix seconds; 0 without any."""
    tables = (EXPOSURES, FEEDBACK) if user_id is not None else (EXPOSURES, FEEDBACK, JOURNAL)
    with store.engine.connect() as connection:
        times = [
            connection.scalar(
                select(func.max(table.c.at)).where(true() if user_id is None else table.c.user_id == user_id)
            )
            for table in tables
        ]
    return max((time for time in times if time is not None), default=0.0)


def _delete_user(store: EventStore, user_id: str, deleted: dict[str, int]) -> None:
    for table in (EXPOSURES, FEEDBACK):
        deleted[table.name] += store.delete(table, table.c.user_id == user_id)


def _empty_log(store: EventStore) -> bool:
    """Empty SQLite's write-ahead log, which still holds deleted rows; False while another process reads
    it."""
    if store.postgres:
        return True
    with store.engine.connect() as connection:
        busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


def sqlite_path(store: EventStore) -> Path:
    if store.postgres:
        raise InputError(
            "this event store is PostgreSQL: back it up with `pg_dump -Fc` and restore with "
            "`pg_restore --clean`; the next start of a server repeats later erasures"
        )
    return Path(str(store.engine.url.database))


def backup(store: EventStore, target: Path) -> int:
    """Copy a live SQLite store to ``target``, which must not exist, as one consistent snapshot.

    Returns the bytes written. An interrupted copy leaves nothing at ``target``.
    """
    source = sqlite_path(store)
    if target.exists():
        raise InputError(f"{target} exists already; name a new file")
    with (
        atomic_path(target, private=True) as partial,
        contextlib.closing(sqlite3.connect(source)) as live,
        contextlib.closing(sqlite3.connect(partial)) as copy,
    ):
        live.backup(copy, pages=1000)
    return target.stat().st_size


def restore(store: EventStore, source: Path) -> None:
    """Replace the event store by a backup; the server must be stopped.

    The old store is kept as ``.before-restore``. Erasures since the backup was made are repeated in it.

    Raises:
        InputError: ``source`` is not an intact event store.
    """
    target = sqlite_path(store)
    if not source.is_file():
        raise InputError(f"no backup at {source}; expected a file that `data backup` wrote")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
            tables = {
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{source} is not an event store ({error}); expected one that `data backup` wrote"
        ) from None
    missing = {"exposures", "feedback", "experiments", "journal"} - tables
    if verdict != "ok" or missing:
        raise InputError(
            f"{source} is damaged, or not an event store ({verdict}; tables missing: {sorted(missing)})"
        )
    if target.exists():
        store.create_tables()
        repeat_erasures(store)  # completes the ledger
    store.close()
    with atomic_path(target, private=True) as fresh:
        with (
            contextlib.closing(sqlite3.connect(source)) as old,
            contextlib.closing(sqlite3.connect(fresh)) as new,
        ):
            old.backup(new)
        restored = EventStore(str(fresh))
        restored.create_tables()
        repeat_erasures(restored, events=store.url)
        _empty_log(restored)
        restored.close()
        if target.exists():  # a second name, not a move: there is a store at every moment
            before = target.with_name(target.name + ".before-restore")
            before.unlink(missing_ok=True)
            try:
                os.link(target, before)
            except OSError:  # a file system without links
                os.replace(target, before)
        for suffix in ("-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
