"""Planted releases through the gate, the comparison and the roll-out of the loop: who gets to be champion?

    python -m tests.benchmarks.simulations.planted_releases --runs 20 --equal-runs 100

Gate: bias models on synthetic ratings; the champion learned with 30% of its labels shuffled, a worse release
with 60%, a better one with none, an equal one with another 30%. In service: made-up people (hit rates 20%;
worse 12%, better 30%), an accelerated clock, the real event store, loop and roll-out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recsys.data.gate_slice import gate_mask
from recsys.data.split import TrainingData
from recsys.data.synthetic import generate
from recsys.models.registry import FAMILIES, make_config
from search.tracking.promotion import GateAnswers, Promotion, evaluate_promotion
from serving.loop.loop_decisions import Phase
from tests.benchmarks.simulations.behaviour import Behaviour
from tests.benchmarks.simulations.loop_world import LoopWorld
from tests.releases import make_release

CHAMPION_SHUFFLED = 0.3
HOURS = 6.0  # that a comparison may take: 60 looks of 200 people


@dataclass(frozen=True)
class Planted:
    """``shuffled`` share of the training labels; ``hit`` share of lists with a hit."""

    shuffled: float
    hit: float


PLANTED = {
    "better": Planted(0.0, 0.3),
    "worse": Planted(0.6, 0.12),
    "equal": Planted(CHAMPION_SHUFFLED, 0.2),
}


def gate_verdict(planted: Planted, *, seed: int) -> Promotion:
    """Of a release with ``planted`` against the champion, on pairs that neither has seen."""
    dataset = generate(users=400, items=200, ratings=20_000, seed=seed).dataset
    gate = gate_mask(dataset)
    seen, held = dataset.ratings.take(np.flatnonzero(~gate)), dataset.ratings.take(np.flatnonzero(gate))

    def answers(shuffled: float, stream: int) -> GateAnswers:
        random = np.random.default_rng([seed, stream])
        rows = random.choice(len(seen), int(shuffled * len(seen)), replace=False)
        values = seen.values.copy()
        values[rows] = values[random.permutation(rows)]
        data = TrainingData(train=replace(seen, values=values), valid=held)
        trainer = FAMILIES["bias"].build(make_config("bias", {}), data, epochs=1, seed=0, device="cpu")
        trainer.train_epoch()
        assert held.times is not None
        return GateAnswers(
            users=dataset.user_ids[held.users],
            items=dataset.catalogue.ids[held.items],
            times=held.times,
            given=held.values,
            predicted=np.asarray(trainer.predict(held), dtype=np.float32),
        )

    return evaluate_promotion(answers(planted.shuffled, 2), answers(CHAMPION_SHUFFLED, 1))


def in_service(folder: Path, release: str, planted: Planted, *, seed: int) -> bool:
    """Whether the loop makes it champion."""
    world = LoopWorld(folder, release, candidate=Behaviour(hit=planted.hit), seed=seed, longest_hours=HOURS)
    phases = world.live()
    world.store.close()
    return phases[-1] is Phase.PROMOTE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.planted_releases", description=__doc__
    )
    parser.add_argument("--runs", type=int, default=20, help="of the worse and the better release")
    parser.add_argument("--equal-runs", type=int, default=100, help="of the equal one")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    rows = []
    print(
        f"{'planted':>8} {'runs':>5} {'past the gate':>14} {'past the comparison':>20} {'champion':>9}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        release = str(make_release(Path(scratch) / "release"))
        for name, planted in PLANTED.items():
            runs = options.equal_runs if name == "equal" else options.runs
            gate = [gate_verdict(planted, seed=seed).promoted for seed in range(runs)]
            live = []
            for seed in range(runs):
                folder = Path(scratch) / f"{name}-{seed}"
                folder.mkdir()
                # Of equal releases only those that the gate lets through: the others never come so far.
                tried = name != "equal" or gate[seed]
                live.append(tried and in_service(folder, release, planted, seed=seed))
            both = sum(a and b for a, b in zip(gate, live, strict=True))
            rows.append(
                {"planted": name, "runs": runs, "gate": sum(gate), "live": sum(live), "champion": both}
            )
            print(f"{name:>8} {runs:>5} {sum(gate):>14} {sum(live):>20} {both:>9}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
