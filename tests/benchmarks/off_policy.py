"""Does the off-policy interval hold what a later A/B test finds? Synthetic releases with known hit rates.

    python -m tests.benchmarks.off_policy --releases 200 --users 2000

A logging release shows ten of thirty candidates and explores a tenth of its places; each target release
orders the same candidates better, worse or at random. Logged lists are drawn by the server's own scheme
(``serving.engine.exploration``), hits independently. Then an A/B test of 20,000 other users is drawn.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.types import BoolArray, FloatArray
from serving.engine.exploration import CANDIDATES_PER_POSITION
from serving.estimate.off_policy import Explored, OffPolicyEstimate, estimate_hit_rate

PLACES, EXPLORE = 10, 0.1
POOL = PLACES * (CANDIDATES_PER_POSITION - 1)
LATER_USERS = 20_000


@dataclass(frozen=True)
class Trial:
    """``true`` is the target's hits a list, ``later`` what an A/B test's arm of it found."""

    estimate: OffPolicyEstimate
    true: float
    later: float


def draw_users(random: np.random.Generator, users: int, skill: float) -> tuple[FloatArray, BoolArray]:
    """(users, candidates) chance of a hit, in the logging release's order; and what the target lists."""
    candidates = PLACES + POOL
    noise = np.exp(0.6 * random.normal(size=(users, candidates)))
    hit = np.clip(0.03 * noise * np.linspace(1.5, 0.5, candidates), 0, 0.5)
    score = skill * np.log(hit) + random.normal(size=hit.shape)
    listed = np.zeros(hit.shape, dtype=np.bool_)
    np.put_along_axis(listed, np.argsort(-score, axis=1)[:, :PLACES], True, axis=1)
    return hit, listed


def logged(random: np.random.Generator, hit: FloatArray, listed: BoolArray) -> list[Explored]:
    """One explored list a user, as the server would have logged it."""
    users, positions = len(hit), np.arange(PLACES)
    offset = random.random((users, 1))
    drawn = np.floor(offset + EXPLORE * (positions + 1)) > np.floor(offset + EXPLORE * positions)
    pool = PLACES + np.argsort(random.random((users, POOL)), axis=1)[:, :PLACES]
    shown = np.where(drawn, np.take_along_axis(pool, np.cumsum(drawn, axis=1) - drawn, axis=1), positions)
    weights = np.where(drawn, POOL / (PLACES * EXPLORE), 1 / (1 - EXPLORE))
    weights = weights * np.take_along_axis(listed, shown, axis=1)
    hits = random.random(shown.shape) < np.take_along_axis(hit, shown, axis=1)
    largest = math.ceil(PLACES * EXPLORE) * POOL / (PLACES * EXPLORE) + PLACES / (1 - EXPLORE)
    columns = zip(hits.sum(1), weights.sum(1), (weights * hits).sum(1), strict=True)
    return [
        Explored(1, PLACES, float(PLACES), float(hit_count), float(weight), float(weighted), largest)
        for hit_count, weight, weighted in columns
    ]


def trial(seed: int, *, users: int) -> Trial:
    """One target release: its estimate, the truth, and the later test."""
    random = np.random.default_rng([seed, 19])
    skill = float(random.uniform(-2, 2))
    estimate = estimate_hit_rate(logged(random, *draw_users(random, users, skill)))
    hit, listed = draw_users(random, LATER_USERS, skill)
    later = (random.random(hit.shape) < hit) & listed
    return Trial(estimate, float((hit * listed).sum(1).mean()), float(later.sum(1).mean()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.off_policy", description=__doc__)
    parser.add_argument("--releases", type=int, default=200)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    trials = [trial(seed, users=options.users) for seed in range(options.releases)]
    spans = [(entry.estimate.low or 0.0, entry.estimate.high or 0.0) for entry in trials]
    row = {
        "releases": len(trials),
        "users": options.users,
        "truth inside": sum(
            low <= entry.true <= high for entry, (low, high) in zip(trials, spans, strict=True)
        ),
        "later A/B inside": sum(
            low <= entry.later <= high for entry, (low, high) in zip(trials, spans, strict=True)
        ),
        "mean width": float(np.mean([high - low for low, high in spans])),
        "hits a list": [min(entry.true for entry in trials), max(entry.true for entry in trials)],
        "rmse of doubly robust": float(
            np.sqrt(np.mean([((entry.estimate.doubly_robust or 0.0) - entry.true) ** 2 for entry in trials]))
        ),
        "rmse of self-normalised": float(
            np.sqrt(
                np.mean([((entry.estimate.self_normalised or 0.0) - entry.true) ** 2 for entry in trials])
            )
        ),
    }
    print("\n".join(f"{name}: {value}" for name, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(row, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
