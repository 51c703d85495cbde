"""Parsing and splitting a ratings.csv of ML-32M's shape, next to plain pandas.read_csv.

    python -m tests.benchmarks.loading                  # 32,000,204 rows, 0.9 GB on disk, some minutes
    python -m tests.benchmarks.loading --rows 2000000   # a trial

Each way runs in a process of its own; seconds are of the work alone, peak memory of the whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

USERS, ITEMS, ROWS = 200_948, 84_432, 32_000_204  # ML-32M
WAYS = {
    "make": "write the file",
    "pandas": "pandas.read_csv",
    "parse": "load_dataset, first time",
    "again": "load_dataset, second time",
    "split": "load again + make_split random",
}


def make(folder: Path, rows: int) -> None:
    from recsys.data.synthetic import generate
    from tests.movielens_files import write_movielens_csv

    share = rows / ROWS
    users, items = max(50, round(USERS * share)), max(50, round(ITEMS * share))
    write_movielens_csv(generate(users=users, items=items, ratings=rows, seed=0).dataset, folder)


def measure(way: str, folder: Path, rows: int) -> dict[str, float]:
    """Seconds and peak megabytes of one way, in this process."""
    import pandas as pd

    from recsys.data.loading import load_dataset
    from recsys.data.splits import make_split

    started = time.perf_counter()
    if way == "make":
        make(folder, rows)
    elif way == "pandas":
        assert len(pd.read_csv(folder / "ratings.csv")) == rows
    else:
        dataset = load_dataset(str(folder), cache=folder / "cache")
        assert len(dataset.ratings) == rows
        if way == "split":
            assert sum(make_split(dataset, "random", seed=0).counts().values()) == rows
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS, help="ratings in the file (default: ML-32M's)")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.folder, options.rows)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{'':32} {'seconds':>9} {'peak MB':>9}")
        for way, title in WAYS.items():
            command = [sys.executable, "-m", "tests.benchmarks.loading", "--measure", way]
            command += ["--folder", scratch, "--rows", str(options.rows)]
            ended = subprocess.run(command, check=True, capture_output=True, text=True)
            result = json.loads(ended.stdout)
            print(f"{title:32} {result['seconds']:9.2f} {result['peak_mb']:9,.0f}", flush=True)
        size = (Path(scratch) / "ratings.csv").stat().st_size
        print(f"{options.rows:,} rows, {size / 1e6:,.0f} MB of text")


if __name__ == "__main__":
    main()
