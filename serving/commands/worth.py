"""``python -m serving worth``: the expected gain of retraining, by the learning curve of earlier releases."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from recsys.data.event_ratings import read_served
from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from recsys.io import write_atomic
from recsys.release.load import read_manifest
from serving.events.store import open_store
from serving.loop.retraining_gain import RetrainingGain, curve_point, expected_gain
from serving.release_registry import resolve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", default="runs/events.db", help="the server's event store")
    parser.add_argument("--experiment", default="main", help="default: main")
    parser.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        default=[Path("runs")],
        metavar="FOLDER",
        help="folders that are searched for earlier runs (default: runs)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")


def run(options: argparse.Namespace) -> int:
    with open_store(options.events) as store:
        state = store.experiment(options.experiment)
    if state is None:
        raise InputError(f"{options.events} has no experiment {options.experiment!r}: start the server once")
    serving = max(state.arms, key=lambda arm: arm.share)
    manifest = read_manifest(resolve(serving.release))
    trained, lineage = sum(manifest.split.counts.values()), manifest.dataset.lineage or {}
    scale = RatingScale(manifest.dataset.scale.low, manifest.dataset.scale.high)
    served = len(read_served(options.events, scale))
    points = [
        point
        for folder in options.runs
        for results in sorted(folder.rglob("results.json"))
        if (point := curve_point(results.parent, dataset=manifest.dataset.name)) is not None
    ]
    new = max(0, served - int(lineage.get("served", 0)))
    estimate = expected_gain(points, trained=trained, new_ratings=new)
    print(gain_words(estimate))
    if options.json:
        write_atomic(options.json, json.dumps(asdict(estimate), indent=1).encode())
    return 0


def gain_words(estimate: RetrainingGain) -> str:
    """The expected gain as text."""
    grown = f"{estimate.trained:,} ratings in the release that serves, {estimate.now:,} now"
    if estimate.gain is None:
        return f"{grown}; {estimate.words}"
    error = "" if estimate.error is None else f" (standard error {estimate.error:.4f})"
    change = f"{-estimate.gain:+.4f} stars{error}"
    return f"{grown}: retraining is expected to change rmse by {change}, from {estimate.points} runs"
