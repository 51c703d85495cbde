"""Named peers and ours on one split, in one table: ``python -m tests.benchmarks.peers --data ml-100k``.

Run it with the Python of an environment made from ``peers-requirements.txt``. Every peer tries
``--tries`` of its settings on valid (its defaults first), is then trained on train and valid together
with the best, for each seed, and looks at test once. Ours come from the ladder's measures of the same
split (``--ours``), whose settings were chosen on valid with the budget that README states.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from recsys.data.load import load_dataset
from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from tests.benchmarks.peers_rating import PEERS, RatingPeer


def rmse(stars: np.ndarray, ratings: Ratings) -> float:
    clipped = np.clip(stars, ratings.scale.low, ratings.scale.high)
    return float(np.sqrt(np.square(clipped - ratings.values).mean()))


def whole_of(data: TrainingData) -> TrainingData:
    """Train and valid as one training slice."""
    train, valid = data.train, data.valid
    joined = replace(
        train,
        users=np.concatenate([train.users, valid.users]),
        items=np.concatenate([train.items, valid.items]),
        values=np.concatenate([train.values, valid.values]),
        times=None,
    )
    return replace(data, train=joined)


def row_of(peer: RatingPeer, data: TrainingData, test: Ratings, *, tries: int, seeds: int) -> str:
    started = time.perf_counter()
    try:
        choices = peer.settings[:tries]
        errors = [rmse(peer.fit(data, data.valid, seed=0, **choice), data.valid) for choice in choices]
        best = int(np.argmin(errors))
        whole = whole_of(data)
        final = [rmse(peer.fit(whole, test, seed=seed, **choices[best]), test) for seed in range(seeds)]
    except ImportError as error:
        return f"| {peer.name} | not installed here ({error.name}) | | | |"
    seconds = time.perf_counter() - started
    chosen = ", ".join(f"{name} {value}" for name, value in choices[best].items() if name != "model")
    spread = f" ± {np.std(final):.4f}" if len(final) > 1 else ""
    return f"| {peer.name} | {errors[best]:.4f} | {np.mean(final):.4f}{spread} | {chosen} | {seconds:.0f} |"


def ours_of(path: Path, fingerprint: str) -> list[str]:
    """Rows from a ladder's measures. InputError where they are of another split."""
    first, *rest = path.read_text().splitlines()
    if json.loads(first)["fingerprint"] != fingerprint:
        raise InputError(f"{path} was measured on another split; run the ladder with the same --split")
    by_rung: dict[str, list[dict[str, float]]] = {}
    for line in rest:
        one = json.loads(line)
        by_rung.setdefault(one["rung"], []).append(one)
    rows = []
    for name, ones in by_rung.items():
        valid, test = (np.array([one[key] for one in ones]) for key in ("valid", "test_refit"))
        seconds = sum(one["seconds"] for one in ones)
        rows.append(
            f"| ours: {name} | {valid.mean():.4f} | {test.mean():.4f} ± {test.std():.4f} | | {seconds:.0f} |"
        )
    return rows


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    arguments.add_argument("--data", default="ml-100k")
    arguments.add_argument("--split", default="folds:u1")
    arguments.add_argument("--split-seed", type=int, default=0)
    arguments.add_argument("--tries", type=int, default=3, help="settings tried on valid by each peer")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--only", default="", help="part of a peer's name")
    arguments.add_argument("--ours", type=Path, help="measures.jsonl of recsys.ladder on the same split")
    options = arguments.parse_args()
    try:
        dataset = load_dataset(options.data)
        split = make_split(dataset, options.split, seed=options.split_seed)
        ours = ours_of(options.ours, split.fingerprint) if options.ours else []
    except (InputError, OSError) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    data, test = training_data(dataset, split), dataset.ratings.take(split.test)
    print(
        f"{dataset.name}, {split.protocol}: {options.tries} tries on valid, {options.seeds} seeds, one look"
    )
    print("\n| model | valid rmse | test rmse | settings | seconds |\n|---|---|---|---|---|")
    for peer in PEERS:
        if options.only.lower() in peer.name.lower():
            print(row_of(peer, data, test, tries=options.tries, seeds=options.seeds), flush=True)
    print("\n".join(ours))
    return 0


if __name__ == "__main__":
    sys.exit(main())
