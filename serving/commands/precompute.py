"""``python -m serving precompute``: the lists of all known users, for the server and as a Parquet file."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import InputError
from recsys.io import atomic_path
from serving.app import read_yaml
from serving.catalogue.rule_set import RuleSet
from serving.engine.list_precomputation import lists_folder, precompute, table
from serving.engine.served_release import ServedRelease
from serving.engine.stored_lists import LENGTH, StoredLists
from serving.events.engine import sqlite_file
from serving.events.rule_log import newest_rules
from serving.events.store import open_store
from serving.release_registry import resolve
from serving.settings import Settings, read_settings

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("score", pa.float32()),
        ("predicted_rating", pa.float32()),
    ]
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", required=True, metavar="FOLDER", help="a folder, or models:/name@alias")
    parser.add_argument("--config", type=Path, metavar="YAML", help="the server's settings, for its rules")
    parser.add_argument(
        "--lists", type=Path, help="folder of stored lists (default: next to the event store)"
    )
    parser.add_argument("--out", type=Path, metavar="PARQUET", help="also write the lists to this file")
    parser.add_argument("--count", type=int, default=10, help="items per list in the file (default 10)")


def run(options: argparse.Namespace) -> int:
    """Compute missing lists, then write the file. After Ctrl-C the same command resumes."""
    if not 1 <= options.count <= LENGTH:
        raise InputError(f"--count {options.count}: expected 1 to {LENGTH}")
    fields = read_yaml(options.config)[1] if options.config else {}
    settings = read_settings(fields, where=str(options.config or "the defaults"))
    rules = current_rules(settings)
    loaded = ServedRelease(options.release, resolve(options.release), rules)
    folder = lists_folder(options.lists or settings.lists_path, loaded.release_id, rules)
    began = time.perf_counter()
    try:
        stored = precompute(loaded, folder, progress=_print_progress)
    except BlockingIOError:
        raise InputError(
            f"a running server is computing these lists in {folder}: wait for it, or set its lists_cpu to 0"
        ) from None
    print(f"{len(stored.items):,} lists of {LENGTH} in {folder} ({time.perf_counter() - began:.1f} s)")
    if options.out is not None:
        rows = write_parquet(loaded, stored, options.out, options.count)
        print(f"{rows:,} rows in {options.out}")
    return 0


def current_rules(settings: Settings) -> RuleSet:
    """The rules of a server with these settings: the event store's newest, else the settings'."""
    file = sqlite_file(settings.events)
    if file is not None and not file.exists():
        return settings.rules
    with open_store(settings.events) as store:
        newest = newest_rules(store)
    return settings.rules if newest is None else newest.rules


def write_parquet(loaded: ServedRelease, stored: StoredLists, out: Path, count: int) -> int:
    """Write one row per item of a list, completely or not at all; returns the number of rows."""
    rows = 0
    with atomic_path(out) as part, pq.ParquetWriter(part, SCHEMA) as writer:
        for columns in table(loaded, stored, count):
            batch = pa.table(columns, schema=SCHEMA)
            writer.write_table(batch)
            rows += batch.num_rows
    return rows


def _print_progress(done: int, total: int) -> None:
    if done % 3_200 == 0 or done == total:
        print(f"  {done:,} of {total:,} users", file=sys.stderr, flush=True)
