"""``python -m serving data``: retention, a user's export or erasure, backup and restore of events.

    python -m serving data retain --days 180
    python -m serving data export --user 42 > 42.jsonl
    python -m serving data erase --user 42
    python -m serving data backup events-2026-11-23.db
    python -m serving data restore events-2026-11-23.db

Each takes ``--events URL``. PostgreSQL is backed up by its own pg_dump, which the error message names.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recsys.errors import InputError
from serving.commands.ratings_export import export_ratings
from serving.events.retention import backup, erase, export, restore, retain, sqlite_path
from serving.events.store import EventStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, words in (
        ("retain", "delete exposures and feedback older than --days"),
        ("export", "print one user's rows as JSON lines"),
        ("erase", "delete one user's rows"),
        ("backup", "copy the live event store to a file"),
        ("restore", "replace the event store by a backup (stop the server first)"),
        ("ratings", "write a run's ratings merged with those from the service as one Parquet file"),
    ):
        action = actions.add_parser(name, help=words, description=words)
        action.add_argument("--events", default="sqlite:///runs/events.db", help="the event store's URL")
        if name == "retain":
            action.add_argument("--days", type=float, required=True, help="days to keep")
        elif name in ("export", "erase"):
            action.add_argument("--user", required=True, help="the user's id")
            action.add_argument(
                "--spool", type=Path, help="the server's spool folder, if its settings name one"
            )
        elif name == "ratings":
            action.add_argument("--run", type=Path, required=True, help="the run with the base data")
            action.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
        else:
            action.add_argument("file", type=Path, help="the backup")


def run(options: argparse.Namespace) -> int:
    """Run one action."""
    store = EventStore(options.events)
    if options.action != "restore" and not store.postgres and not sqlite_path(store).exists():
        raise InputError(f"no event store at {options.events}; give the server's own --events URL")
    if options.action == "ratings":
        store.close()
        print(json.dumps(export_ratings(options.run, options.events, options.out).lineage or {}))
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
        print(f"restored {options.file}; the store before it is kept as .before-restore")
    return 0
