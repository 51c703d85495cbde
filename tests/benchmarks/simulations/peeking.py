"""Proof by simulation: false alarms of A/A tests that are peeked at after every user, and power.

    python -m tests.benchmarks.simulations.peeking --runs 2000

Everything here is synthetic, and says so. A user's outcome is a conversion whose chance depends on a
trait known before; a lift adds to that chance.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.experiments.sequential import MINIMUM_USERS, radius


@dataclass(frozen=True)
class Simulated:
    """``alarms`` is the share of runs that ever excluded zero; ``median_users`` when, of those that did."""

    lift: float
    share: float
    runs: int
    alarms: float
    low: float
    high: float
    median_users: float


def peek(*, runs: int, users: int, lift: float, share: float, seed: int, alpha: float = 0.05) -> Simulated:
    """Run ``runs`` experiments of ``users`` users, the interval looked at after every user."""
    rng = np.random.default_rng(seed)
    first = np.full(runs, np.inf)
    chunk = max(1, 4_000_000 // users)
    for start in range(0, runs, chunk):
        rows = min(chunk, runs - start)
        treated = rng.random((rows, users)) < share
        trait = rng.normal(size=(rows, users))
        chance = np.clip(0.2 + 0.08 * trait + lift * treated, 0, 1)
        outcome = (rng.random((rows, users)) < chance).astype(np.float64)
        moments = []
        for side in (treated, ~treated):
            count = np.cumsum(side, axis=1)
            total = np.cumsum(outcome * side, axis=1)
            mean = total / np.maximum(count, 1)
            # A conversion is its own square, so the variance needs no second sum.
            variance = mean * (1 - mean) * count / np.maximum(count - 1, 1)
            moments.append((count, mean, variance))
        (count_t, mean_t, var_t), (count_c, mean_c, var_c) = moments
        error = np.sqrt(var_t / np.maximum(count_t, 1) + var_c / np.maximum(count_c, 1))
        half = radius(error, np.arange(1.0, users + 1), planned=users // 2, alpha=alpha)
        ready = (count_t >= MINIMUM_USERS) & (count_c >= MINIMUM_USERS)
        fired = ready & (np.abs(mean_t - mean_c) > half)
        first[start : start + rows] = np.where(fired.any(axis=1), fired.argmax(axis=1) + 1, np.inf)
    alarms = np.isfinite(first)
    rate = float(alarms.mean())
    margin = 1.96 * math.sqrt(max(rate * (1 - rate), 1 / runs) / runs)
    return Simulated(
        lift,
        share,
        runs,
        rate,
        max(0.0, rate - margin),
        min(1.0, rate + margin),
        float(np.median(first[alarms])) if alarms.any() else math.nan,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.peeking", description=__doc__
    )
    parser.add_argument("--runs", type=int, default=2000, help="experiments a row (default 2000)")
    parser.add_argument("--users", type=int, default=4000, help="users an experiment (default 4000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print("synthetic users; the interval is looked at after every user; alpha 0.05")
    print(f"{'lift':>6} {'share':>6} {'alarms':>8} {'95% interval':>17} {'median users':>13}")
    for share in (0.5, 0.2, 0.05):
        for lift in (0.0, 0.02, 0.04, 0.06, 0.08):
            row = peek(runs=options.runs, users=options.users, lift=lift, share=share, seed=options.seed)
            print(
                f"{row.lift:>6.2f} {row.share:>6.2f} {row.alarms:>8.3f} "
                f"{row.low:>8.3f}-{row.high:<8.3f} {row.median_users:>12.0f}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
