"""Ablation of the hybrid VAE: every rung over several seeds, as a table and a plot.

``python -m tests.benchmarks.ablation --data ml-100k --split folds:u1``

Finished rungs are lines of OUT/measures.jsonl: an interrupted run goes on where it was. Exit codes: 0
done, 2 bad input, 1 failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from recsys.data.loading import load_dataset
from recsys.data.ratings import Ratings
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError, exit_code
from recsys.types import JsonObject
from tests.benchmarks.ablation.measure import Measure, measure
from tests.benchmarks.ablation.record import MeasureLog
from tests.benchmarks.ablation.rungs import LADDER, steps
from tests.benchmarks.ablation.table import markdown, svg


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m tests.benchmarks.ablation", description=__doc__)
    arguments.add_argument(
        "--data", default="ml-100k", help="a release's name, a folder, a file, synthetic:..."
    )
    arguments.add_argument("--split", default="folds:u1", help="protocol, e.g. folds:u1 or random,gate=off")
    arguments.add_argument("--split-seed", type=int, default=0)
    arguments.add_argument("--seeds", type=int, default=3, help="trainings of each rung")
    arguments.add_argument("--epochs", type=int, default=30, help="planned length of every training")
    arguments.add_argument("--rungs", default="", help=f"names, comma separated; all: {_names()}")
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--out", type=Path, default=Path("runs/ladder"))
    return arguments


def _names() -> str:
    return ",".join(rung.name for rung in LADDER)


def main(given: list[str] | None = None) -> int:
    options = parser().parse_args(given)
    kept = f"interrupted; finished rungs are kept in {options.out}, run it again to go on"
    return exit_code(lambda: run(options), interrupted=kept)


def run(options: argparse.Namespace) -> int:
    if options.seeds < 1 or options.epochs < 1:
        raise InputError("--seeds and --epochs must be 1 or more")
    chosen = steps([name for name in options.rungs.split(",") if name] or None)
    dataset = load_dataset(options.data)
    split = make_split(dataset, options.split, seed=options.split_seed)
    data, test = training_data(dataset, split), dataset.ratings.take(split.test)
    print(cold(data.train.joined(data.valid), test), flush=True)
    facts: JsonObject = {
        "data": dataset.name,
        "sha256": dataset.sha256,
        "split": split.protocol,
        "fingerprint": split.fingerprint,
        "epochs": options.epochs,
    }
    if dataset.noise_floor is not None:
        facts["noise_floor"] = dataset.noise_floor
    record = MeasureLog(options.out, facts)
    for seed in range(options.seeds):
        for step in chosen:
            if record.find(step.rung.name, seed):
                continue
            entry = measure(step, data, test, epochs=options.epochs, seed=seed, device=options.device)
            record.add(entry)
            print(
                f"{step.rung.name:16} seed {seed}: valid {entry.valid:.4f}, test {entry.test:.4f}, "
                f"refit {entry.test_refit:.4f} ({entry.epochs} epochs, {entry.seconds:.0f} s)",
                flush=True,
            )
            write_tables(options.out, record.finished, facts)
    write_tables(options.out, record.finished, facts)
    print(markdown(record.finished, floor=facts.get("noise_floor")))
    return 0


def cold(learned: Ratings, test: Ratings) -> str:
    """How much of ``test`` is about users and items of which nothing is ``learned``, in words."""
    users, items = np.isin(test.users, learned.users), np.isin(test.items, learned.items)
    return (
        f"test holds {len(test):,} ratings, {1 - users.mean():.1%} by users and {1 - items.mean():.1%} of "
        "items that train and valid do not know"
    )


def write_tables(out: Path, finished: list[Measure], facts: JsonObject) -> None:
    (out / "ladder.md").write_text(markdown(finished, floor=facts.get("noise_floor")))
    (out / "ladder.svg").write_text(svg(finished, title=f"{facts['data']}, {facts['split']}"))


if __name__ == "__main__":
    sys.exit(main())
