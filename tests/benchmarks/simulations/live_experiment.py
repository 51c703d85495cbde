"""Proof that a planted lift is found, and nothing where there is none, through the whole of it.

    python -m tests.benchmarks.simulations.live_experiment --runs 40

Synthetic people, and said so: their lists and ratings go into a real event store, and the verdict is the
one of ``GET /v1/experiments/{name}/results``, read after every hundred people.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.domain import ArmSpec, ExperimentState
from serving.events.store import EventStore
from serving.operation_settings import OperationSettings
from serving.operations_service import Operations
from tests.benchmarks.simulations.behaviour import Behaviour, answers

BASE_HITS = 0.2
LOOK_EVERY = 100
WINDOW_SECONDS = 60.0


@dataclass(frozen=True)
class LiveResult:
    """``verdict`` is "ship", "stop" or "not yet" (never decided); ``users`` when it was given."""

    verdict: str
    users: int


def experiment(folder: Path, *, lift: float, users: int, seed: int) -> LiveResult:
    """One experiment of at most ``users`` people, ended by the first verdict on the hit rate."""
    random = np.random.default_rng([seed, 4])
    store = EventStore(str(folder / f"{lift:g}-{seed}.db"))
    store.create_tables()
    arms = (ArmSpec("old", "synthetic", 0.5), ArmSpec("new", "synthetic", 0.5))
    state = ExperimentState("main", 0, f"salt-{seed}", arms)
    state = store.save_experiment(state, expected=0, actor="simulation", at=0.0)
    behaviours = {"old": Behaviour(hit=BASE_HITS), "new": Behaviour(hit=BASE_HITS + lift)}
    now = 0.0
    running = Operations(
        store,
        resolve=Path,
        notify=lambda _: None,
        settings=OperationSettings(window_seconds=WINDOW_SECONDS),
        clock=lambda: now,
    )
    for start in range(0, users, LOOK_EVERY):
        people = [f"u{number}" for number in range(start, start + LOOK_EVERY)]
        shown, done = answers(random, state, people, behaviours, at=now, serial=f"{start}")
        store.add(exposures=shown, feedback=done)
        now += 2 * WINDOW_SECONDS
        comparison = running.results("main")["comparisons"][0]
        decision = str(comparison["verdict"]["decision"])
        if decision in ("ship", "stop"):
            store.close()
            return LiveResult(decision, start + LOOK_EVERY)
    store.close()
    return LiveResult("not yet", users)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.live_experiment", description=__doc__
    )
    parser.add_argument("--runs", type=int, default=40, help="experiments a row (default 40)")
    parser.add_argument("--users", type=int, default=4000, help="people an experiment (default 4000)")
    options = parser.parse_args(arguments)
    print(f"synthetic people in a real event store; base hit rate {BASE_HITS:.0%}, a look every {LOOK_EVERY}")
    print(f"{'lift':>6} {'ship':>8} {'stop':>8} {'not yet':>8} {'median users':>13}")
    with tempfile.TemporaryDirectory() as folder:
        for lift in (0.0, 0.04, 0.06, 0.08):
            result = [
                experiment(Path(folder), lift=lift, users=options.users, seed=seed)
                for seed in range(options.runs)
            ]
            verdicts = [entry.verdict for entry in result]
            users = [entry.users for entry in result if entry.verdict != "not yet"]
            cells = [f"{verdicts.count(name):>5}/{len(result):<2}" for name in ("ship", "stop", "not yet")]
            middle = f"{np.median(users):,.0f}" if users else "-"
            print(f"{lift:>6.2f} {' '.join(cells)} {middle:>13}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
