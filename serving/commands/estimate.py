"""``python -m serving estimate``: off-policy estimate of the hit rate of a release that was never served."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from recsys.errors import InputError
from recsys.io import write_atomic
from serving.estimate.logged_lists import explored_lists
from serving.estimate.off_policy import OffPolicyEstimate, estimate_hit_rate
from serving.events.store import open_store
from serving.experiments.experiment_metrics import Metric
from serving.release_registry import resolve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", required=True, help="a release folder, or models:/name@alias")
    parser.add_argument("--events", default="runs/events.db", help="the server's event store")
    parser.add_argument("--experiment", default="main", help="default: main")
    parser.add_argument("--since", type=float, default=0.0, metavar="UNIX", help="use lists since this time")
    parser.add_argument("--alpha", type=float, default=0.05, help="1 - the interval's level (default 0.05)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")


def run(options: argparse.Namespace) -> int:
    if not 0 < options.alpha < 1:
        raise InputError(f"--alpha {options.alpha:g}: expected a number between 0 and 1")
    folder = resolve(options.release)
    with open_store(options.events) as store:
        users = explored_lists(
            store, folder, experiment=options.experiment, metric=Metric(), since=options.since
        )
    estimate = estimate_hit_rate(users, alpha=options.alpha)
    print(estimate_words(estimate))
    if options.json:
        write_atomic(options.json, json.dumps(asdict(estimate), indent=1).encode())
    return 0


def estimate_words(estimate: OffPolicyEstimate) -> str:
    """The estimate as text."""
    if not estimate.lists:
        return (
            "no estimate: no list was explored; give an arm `explore: 0.05` in serving/serve.yaml, "
            "and wait for traffic"
        )
    if estimate.words:
        return estimate.words
    span = f"{estimate.low:.4f} to {estimate.high:.4f}, {1 - estimate.alpha:.0%} at every look"
    return (
        f"{estimate.doubly_robust:.4f} hits a list ({span}); self-normalised {estimate.self_normalised:.4f}\n"
        f"{estimate.lists:,} lists of {estimate.users:,} users; {estimate.support:.0%} of places have data"
    )
