"""Care for what users did: retention by age, one user's data out or erased, backup and restore.

    python -m serving data retain --days 180
    python -m serving data export --user 42 > 42.jsonl
    python -m serving data erase --user 42
    python -m serving data backup events-2026-11-23.db
    python -m serving data restore events-2026-11-23.db

All of them take ``--events URL``. PostgreSQL is backed up by its own pg_dump, which the error names.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from recsys.erasure_ledger import Erasure, append_to_ledger
from recsys.errors import InputError
from recsys.io import atomic_path
from recsys.pseudonyms import fingerprint, pseudonym, pseudonym_key
from recsys.types import JsonObject
from serving.commands.ratings_export import export_ratings
from serving.events.event_tables import EXPOSURES, FEEDBACK
from serving.events.repeated_erasure import repeat_erasures
from serving.events.spool import erase_lines, spool_folder
from serving.events.store import EventStore
from serving.events.tester_overrides import erase_overrides

DAY = 86_400.0
ERASE_SECONDS = 10.0


def retain(store: EventStore, *, days: float, now: float | None = None) -> dict[str, int]:
    """Delete exposures and feedback older than ``days``; returns the rows deleted by table."""
    if days <= 0:
        raise InputError(f"expected a positive number of days to keep, got {days:g}")
    before = (time.time() if now is None else now) - days * DAY
    deleted = {table.name: store.delete(table, table.c.at < before) for table in (EXPOSURES, FEEDBACK)}
    store.append("retention", "events", {"days": days, "before": before, "deleted": deleted}, at=now)
    _empty_log(store)
    return deleted


def export(store: EventStore, user_id: str) -> Iterator[JsonObject]:
    """All that is kept about one user, oldest first, each row with the table it lies in."""
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
    """Delete all that is kept about one user, also while a server runs on the store.

    Rows go, and with them their traces: test overrides in every revision and audit entry, rows that wait in
    spool files, SQLite's write-ahead log (``secure_delete`` overwrites the rest). The journal keeps that it
    was done under a keyed hash of the id; replicas drop the user's ratings when they read that entry, and
    what the user does afterwards counts again.

    Args:
        store: the server's event store.
        user_id: the outside world's id.
        spool: the server's spool folder where its settings name one.
        now: Unix seconds of the erasure.

    Returns:
        Rows deleted by table, and overrides.

    Raises:
        InputError: traces are still in use after ``ERASE_SECONDS``; all rows are deleted, and a second call
            takes out the rest.
    """
    deleted = {table.name: 0 for table in (EXPOSURES, FEEDBACK)}
    _delete_user(store, user_id, deleted)
    deleted["overrides"] = erase_overrides(store, user_id)
    key = pseudonym_key(store.url)
    erasure = Erasure(pseudonym(user_id, key), time.time() if now is None else now, fingerprint(key))
    store.append("erasure", erasure.subject, {"deleted": deleted, "key": erasure.key}, at=erasure.at)
    append_to_ledger(store.url, [erasure])
    folder = spool_folder(store.url) if spool is None else spool
    ends = time.monotonic() + ERASE_SECONDS
    while not (erase_lines(folder, user_id) and _empty_log(store)):
        if time.monotonic() > ends:
            raise InputError(
                f"the rows of {user_id!r} are deleted, but the write-ahead log or a spool file in {folder} "
                "is still in use and may hold the id; run this again in a moment"
            )
        time.sleep(0.1)
        _delete_user(store, user_id, deleted)  # lists given before the erasure and committed since
    return deleted


def _delete_user(store: EventStore, user_id: str, deleted: dict[str, int]) -> None:
    for table in (EXPOSURES, FEEDBACK):
        deleted[table.name] += store.delete(table, table.c.user_id == user_id)


def _empty_log(store: EventStore) -> bool:
    """Empties SQLite's write-ahead log, which still holds deleted rows; False while somebody reads it."""
    if store.postgres:
        return True
    with store.engine.connect() as connection:
        busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


def _sqlite_path(store: EventStore) -> Path:
    if store.postgres:
        raise InputError(
            "this event store is PostgreSQL: back it up with `pg_dump -Fc` and restore with "
            "`pg_restore --clean`; a server's next start erases again whoever was erased since"
        )
    return Path(str(store.engine.url.database))


def backup(store: EventStore, target: Path) -> int:
    """Copy a live SQLite store to ``target`` (which must not be there), consistent at one moment.

    Returns bytes written. A copy that is cut short leaves nothing at ``target``.
    """
    source = _sqlite_path(store)
    if target.exists():
        raise InputError(f"{target} is there already; name a file that is not")
    with (
        atomic_path(target, private=True) as partial,
        contextlib.closing(sqlite3.connect(source)) as live,
        contextlib.closing(sqlite3.connect(partial)) as copy,
    ):
        live.backup(copy, pages=1000)
    return target.stat().st_size


def restore(store: EventStore, source: Path) -> None:
    """Put a backup in the place of the event store. Stop the server first. InputError when ``source`` is
    no sound event store; what was there stays beside it as ``.before-restore``. People who were erased since
    the backup was made are erased from it."""
    place = _sqlite_path(store)
    if not source.is_file():
        raise InputError(f"no backup at {source}; expected a file that `data backup` wrote")
    try:
        with contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as found:
            verdict = found.execute("PRAGMA integrity_check").fetchone()[0]
            tables = {row[0] for row in found.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{source} is no event store ({error}); expected one that `data backup` wrote"
        ) from None
    missing = {"exposures", "feedback", "experiments", "journal"} - tables
    if verdict != "ok" or missing:
        raise InputError(
            f"{source} is damaged or no event store ({verdict}; tables missing: {sorted(missing)})"
        )
    if place.exists():
        store.create_tables()
        repeat_erasures(store)  # the ledger has all that this store knows
    store.close()
    with atomic_path(place, private=True) as fresh:
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
        if place.exists():
            os.replace(place, place.with_name(place.name + ".before-restore"))
        for suffix in ("-wal", "-shm"):
            place.with_name(place.name + suffix).unlink(missing_ok=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, words in (
        ("retain", "delete exposures and feedback older than --days"),
        ("export", "print one user's rows as JSON lines"),
        ("erase", "delete one user's rows"),
        ("backup", "copy the live event store to a file"),
        ("restore", "put a backup in its place (stop the server first)"),
        ("ratings", "write a run's ratings with those given since as one Parquet file"),
    ):
        action = actions.add_parser(name, help=words, description=words)
        action.add_argument("--events", default="sqlite:///runs/events.db", help="the event store's URL")
        if name == "retain":
            action.add_argument("--days", type=float, required=True, help="days to keep")
        elif name in ("export", "erase"):
            action.add_argument("--user", required=True, help="the user's id")
            action.add_argument(
                "--spool", type=Path, help="the server's spool folder, where its settings name one"
            )
        elif name == "ratings":
            action.add_argument("--run", type=Path, required=True, help="the run whose data is the base")
            action.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
        else:
            action.add_argument("file", type=Path, help="the backup")


def run(options: argparse.Namespace) -> int:
    """One action; returns the exit code."""
    store = EventStore(options.events)
    if options.action != "restore" and not store.postgres and not _sqlite_path(store).exists():
        raise InputError(f"no event store at {options.events}; give the server's own --events URL")
    if options.action == "ratings":
        store.close()
        print(json.dumps(export_ratings(options.run, options.events, options.out)))
    elif options.action == "retain":
        print(json.dumps(retain(store, days=options.days)))
    elif options.action == "export":
        for row in export(store, options.user):
            sys.stdout.write(json.dumps(row) + "\n")
    elif options.action == "erase":
        print(json.dumps(erase(store, options.user, spool=options.spool)))
    elif options.action == "backup":
        print(f"{backup(store, options.file):,} bytes in {options.file}")
    else:
        restore(store, options.file)
        print(f"restored {options.file}; the store before it lies beside it as .before-restore")
    return 0
