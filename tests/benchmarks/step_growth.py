"""Milliseconds of a training step as the data grow, from a fraction of ML-32M's shape to all of it.

    python -m tests.benchmarks.step_growth --fractions 0.03125 0.125 --json growth.json

One row an option of the hybrid VAE: without histories, and with each kind of history summed over a batch's
own rows and over everything (``whole``), and the formula with embeddings stepped by row and densely
(``dense``): what a step did before, and still does where it is cheaper. ``eager`` is a step without a CUDA
graph. Ratings are made up with the activity of ML-32M's people and films. Every figure is the median of
``--steps`` steps after some that warm up, in one process; the variants of an option take turns step by step:
other work on the machine weighs on them alike.
CPU milliseconds count this process alone; wall milliseconds also what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.hybrid_vae import network as network_module
from recsys.models.hybrid_vae import trainer as trainer_module
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.optim.device import pick_device, tensor_cores
from recsys.models.optim.row_adam import LONGEST_GAP
from search.config.template import load_template

USERS, ITEMS, RATINGS = 200_948, 84_432, 20_500_000
WARM_UP = 5  # steps, a card's capture among them; as many more as rows may be behind in steps by row
TEMPLATE = load_template("hybrid_vae_optimized")
BASE = {"dot_product": 32, "biases": True}
OPTIONS: dict[str, dict[str, object]] = {
    "formula": {},
    "template": TEMPLATE.config,
    "implicit": {**BASE, "history": "implicit"},
    "ratings": {**BASE, "history": "ratings"},
    "attended": {**BASE, "history": "attended"},
}


def ratings_of_shape(fraction: float, *, seed: int = 0) -> Ratings:
    """Made-up ratings of ``fraction`` of the shape; people's and films' activity as long-tailed as theirs."""
    random = np.random.default_rng(seed)
    users, items, count = (max(2, round(size * fraction)) for size in (USERS, ITEMS, RATINGS))
    activity = random.lognormal(0, 1.1, users)
    popularity = 1.0 / (np.arange(items) + 20.0) ** 1.1
    return Ratings(
        users=_draw(activity, count, random),
        items=_draw(popularity, count, random),
        values=random.integers(1, 11, count).astype(np.float32) / 2,
        times=random.integers(0, 10**9, count),
        scale=RatingScale(0.5, 5.0),
        user_count=users,
        item_count=items,
    )


def _draw(weights: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    edges = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(edges, random.random(count)), len(weights) - 1).astype(np.int32)


@dataclass(frozen=True)
class StepTime:
    """Medians of a step in milliseconds."""

    wall: float
    cpu: float


def step_times(
    data: TrainingData, options: dict[str, object], variants: Sequence[str], *, steps: int
) -> dict[str, StepTime]:
    """What a step takes by variant; the variants do the same steps in turn."""
    with tensor_cores(pick_device()):
        return _taking_turns(data, options, variants, steps)


def _taking_turns(
    data: TrainingData, options: dict[str, object], variants: Sequence[str], steps: int
) -> dict[str, StepTime]:
    runs = {}
    for variant in variants:
        trainer = _trainer(data, options, variant)
        trainer.network.train()
        warm_up = WARM_UP + (0 if trainer.row_adams is None else LONGEST_GAP)
        order = trainer.noise.order(len(data.train)).split(trainer.config.batch_size)[: warm_up + steps]
        runs[variant] = _steps(trainer, order)
        for _ in range(warm_up):
            next(runs[variant])
    seconds: dict[str, list[tuple[float, float]]] = {variant: [] for variant in variants}
    for _ in range(steps):
        for variant in variants:
            began = time.perf_counter(), time.process_time()
            next(runs[variant])
            seconds[variant].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return {
        variant: StepTime(*(1000 * float(np.median(column)) for column in zip(*spent, strict=True)))
        for variant, spent in seconds.items()
    }


def _steps(trainer: HybridVaeTrainer, order: Sequence[Tensor]) -> Iterator[None]:
    for rows, histories in zip(order, trainer._histories(order), strict=True):
        trainer._step(rows, 0.5, histories)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        yield


def _trainer(data: TrainingData, options: dict[str, object], variant: str) -> HybridVaeTrainer:
    """A trainer of which ``variant`` decides what it does by row ("dense" and "whole" nothing), and whether a
    card's steps are captured ("eager" not)."""
    by_batch, by_row = network_module.cheaper_by_batch, trainer_module.cheaper_by_row
    capturing = trainer_module.capturing
    if variant == "eager":
        trainer_module.capturing = lambda _: None
    network_module.cheaper_by_batch = lambda *_: variant != "whole"
    if variant == "dense":
        trainer_module.cheaper_by_row = lambda *_: False
    try:
        config = HybridVaeConfig(**options)  # type: ignore[arg-type]
        return HybridVaeTrainer(config, data, epochs=10, seed=0, device=pick_device())
    finally:
        network_module.cheaper_by_batch, trainer_module.cheaper_by_row = by_batch, by_row
        trainer_module.capturing = capturing


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fractions", type=float, nargs="+", default=[1 / 32, 1 / 8])
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed (default 8)")
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--no-reference", action="store_true", help="leave whole sums and dense steps out")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    rows = []
    for fraction in chosen.fractions:
        ratings = ratings_of_shape(fraction)
        data = TrainingData(ratings, ratings.take(np.arange(100)))
        for option in chosen.options:
            reference = "whole" if "history" in OPTIONS[option] else "dense"
            variants = ["by row"] if chosen.no_reference else ["by row", reference]
            for variant, took in step_times(data, OPTIONS[option], variants, steps=chosen.steps).items():
                rows.append({"fraction": fraction, "option": option, "variant": variant, **asdict(took)})
                print(
                    f"{fraction:8.4f} of the shape  {option:10}{variant:8}"
                    f"{took.wall:9.1f} ms a step of wall, {took.cpu:9.1f} of CPU",
                    flush=True,
                )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
