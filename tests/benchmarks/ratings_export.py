"""A million events as a dataset: seconds and peak memory of the export, from SQLite or PostgreSQL.

    python -m tests.benchmarks.ratings_export
    python -m tests.benchmarks.ratings_export --postgres

Events of 60,000 people on ML-100K's shape, four of five in one of 200,000 lists, made by plain inserts. Then
the export is killed after some chunks and called again: the bytes must be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from recsys.data.data_spec import DataSpec
from recsys.data.synthetic import generate
from recsys.text_table import text_table
from serving.events.event_tables import EXPOSURES, FEEDBACK
from serving.events.store import EventStore
from tests.movielens_files import write_movielens_csv
from tests.serving.postgres import postgres

LISTS, PEOPLE, ITEMS, BATCH = 200_000, 60_000, 1_682, 20_000
START = 1_700_000_000.0


def fill(store: EventStore, events: int) -> None:
    """``events`` ratings and clicks, four of five in a list of ten; some are explored."""
    random = np.random.default_rng(0)
    store.create_tables()
    item_ids = [str(3 * row + 1) for row in range(ITEMS)]
    lists = [[item_ids[row] for row in random.integers(0, ITEMS, 10).tolist()] for _ in range(LISTS)]
    people = random.integers(0, PEOPLE, LISTS).tolist()
    for first in range(0, LISTS, BATCH):
        rows = [
            {
                "exposure_id": f"x{n:032}",
                "at": START + n,
                "user_id": f"user-{people[n]}",
                "experiment": "main",
                "arm": "a",
                "revision": 1,
                "release_id": "r" * 64,
                "items": json.dumps(lists[n]),
                "predicted": json.dumps([3.5] * 10),
                "source": "personal",
                "milliseconds": 1.0,
                "shadow": False,
                "propensities": json.dumps([0.95] * 9 + [0.0025]),
            }
            for n in range(first, first + BATCH)
        ]
        with store.engine.begin() as connection:
            connection.execute(EXPOSURES.insert(), rows)
    for first in range(0, events, BATCH):
        rows = []
        for n in range(first, first + BATCH):
            shown = n % LISTS if n % 5 else None
            rows.append(
                {
                    "event_id": f"e{n:032}",
                    "exposure_id": None if shown is None else f"x{shown:032}",
                    "user_id": f"user-{n % PEOPLE if shown is None else people[shown]}",
                    "kind": "rating" if n % 4 else "click",
                    "item_id": item_ids[n % ITEMS] if shown is None else lists[shown][n // LISTS],
                    "value": float(1 + n % 5) if n % 4 else None,
                    "at": START + n,
                }
            )
        with store.engine.begin() as connection:
            connection.execute(FEEDBACK.insert(), rows)


def export(run: Path, events: str, out: Path, *, kill_after: int | None = None) -> tuple[float, float]:
    """Seconds and peak MB of the command in a process of its own, killed after so many chunks."""
    words = ["data", "ratings", "--run", str(run), "--events", events, "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "serving", *words], stdout=subprocess.DEVNULL)
    parts = out.with_name(f".{out.name}.parts")
    while kill_after is not None and process.poll() is None:
        if len(list(parts.glob("*.npz"))) >= kill_after:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    code = process.wait()
    assert code == (0 if kill_after is None else -signal.SIGKILL), code
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def measure(folder: Path, url: str, events: int) -> list[str]:
    """A row of the table."""
    store = EventStore(url)
    fill(store, events)
    store.close()
    data, run = folder / "data", folder / "run"
    write_movielens_csv(generate(users=943, items=ITEMS, ratings=100_000, seed=0).dataset, data)
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"source": DataSpec(str(data)).to_json()}))
    whole, resumed = folder / "whole.parquet", folder / "resumed.parquet"
    seconds, peak = export(run, url, whole)
    before, _ = export(run, url, resumed, kill_after=10)
    after, _ = export(run, url, resumed)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (whole, resumed)}
    same = "the same" if len(digests) == 1 else "other bytes"
    return [f"{events:,}", f"{seconds:.1f}", f"{peak:.0f}", f"{before:.1f} + {after:.1f}", same]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true", help="a server of our own instead of SQLite")
    options = parser.parse_args()
    header = ["events", "s", "peak MB", "killed + resumed s", "bytes"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.postgres:
            with postgres() as server:
                print(text_table(header, [measure(folder, server.url, options.events)]))
        else:
            print(text_table(header, [measure(folder, str(folder / "events.db"), options.events)]))


if __name__ == "__main__":
    main()
