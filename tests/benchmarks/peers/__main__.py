"""``python -m tests.benchmarks.peers --data ml-100k --split folds:u1 --out DIR``: peers and ours, one table.

Finished trainings are lines of DIR/peers.jsonl: an interrupted run goes on where it was. A peer that is
not installed has a row that says so. Exit codes: 0 done, 1 a peer broke (its row says how), 2 bad input,
130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.data.protocols import parse_protocol
from recsys.data.split import SliceName, Split
from recsys.data.splits import make_split
from recsys.errors import InputError
from recsys.types import JsonObject
from tests.benchmarks.lists import part_of
from tests.benchmarks.peers.bench import Bench
from tests.benchmarks.peers.measure import Measurer
from tests.benchmarks.peers.ours import our_rows
from tests.benchmarks.peers.peer import Task, chosen, only_settings
from tests.benchmarks.peers.process import Failed, Interpreters, NotInstalled
from tests.benchmarks.peers.record import Record
from tests.benchmarks.peers.roster import PEERS
from tests.benchmarks.peers.table import Row, markdown, paired

SHOWN: tuple[SliceName, ...] = ("train", "valid", "test")


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    add = arguments.add_argument
    add("--data", default="ml-100k", help="a release's name, a folder, a file, synthetic:...")
    add("--split", default="folds:u1", help="folds:u1, random, ...: stars; per-user, strong:USERS: lists")
    add("--at-least", type=float, help="only ratings of so many stars count, as likes")
    add("--split-seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/peers"))
    add(
        "--tries",
        type=int,
        default=4,
        help="settings that a peer may try on valid, its own first (at most 4)",
    )
    add(
        "--settings", help="numbers of the settings to try instead, e.g. 1,3: what a machine has the time for"
    )
    add("--seeds", type=int, default=3, help="trainings on train and valid, each with one look at test")
    add("--only", default="", help="parts of names of peers or libraries, comma separated")
    add(
        "--python",
        action="append",
        default=[],
        metavar="[LIBRARY=]PATH",
        help="the Python that has the peers",
    )
    add(
        "--ours",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a run's folder, a ladder's, or a file of tests.benchmarks.lists",
    )
    add("--limit", type=float, default=900, help="seconds a training may take")
    return arguments


def main(given: list[str] | None = None) -> int:
    options = parser().parse_args(given)
    try:
        return run(options)
    except InputError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = f"finished trainings are kept in {options.out}, run it again to go on"
        print(f"peers: interrupted; {again}", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    if options.seeds < 1 or options.tries < 1 or options.limit <= 0:
        raise InputError("--seeds and --tries must be 1 or more, --limit more than 0")
    pythons = Interpreters.parse(options.python, default=sys.executable)
    task: Task = "rank" if parse_protocol(options.split).name in ("per-user", "strong") else "rate"
    peers = chosen(PEERS, task, options.only)
    if options.settings:
        peers = [only_settings(peer, options.settings) for peer in peers]
    dataset = part_of(load_dataset(options.data), options.at_least, None)
    split = make_split(dataset, options.split, seed=options.split_seed)
    ours = [row for folder in options.ours for row in our_rows(folder, split.fingerprint, task)]
    facts: JsonObject = {
        "data": dataset.name,
        "sha256": dataset.sha256,
        "split": split.protocol,
        "fingerprint": split.fingerprint,
    }
    record = Record(options.out, facts)
    rows: list[Row] = []
    broken = False
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        measurer = Measurer(Bench(dataset, split, task, Path(folder)), record, pythons, limit=options.limit)
        for peer in peers:
            try:
                rows.append(measurer.row(peer, tries=options.tries, seeds=options.seeds))
            except NotInstalled as error:
                rows.append(Row(peer.name, problem=str(error)))
            except Failed as error:
                rows.append(Row(peer.name, problem=f"failed: {error}"))
                broken = True
            (options.out / "peers.md").write_text(
                f"{title(dataset, split)}\n\n{markdown([*rows, *ours], task)}{paired(rows, ours)}"
            )
    print((options.out / "peers.md").read_text(), end="")
    return 1 if broken else 0


def title(dataset: Dataset, split: Split) -> str:
    counts = ", ".join(f"{len(split.rows(name)):,} {name}" for name in SHOWN)
    return (
        f"{dataset.name}, {split.protocol}, split seed {split.seed}: {counts} ratings. Peers choose\n"
        "a setting on valid, learned from train; then they learn from train and valid and look at test,\n"
        "once a seed. ± is the standard deviation over seeds; seconds are without starting Python.\n"
        "Ours: what that run left behind."
    )


if __name__ == "__main__":
    sys.exit(main())
