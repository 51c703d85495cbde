"""Milliseconds of a training step as the data grow, from a fraction of ML-32M's shape to all of it.

    python -m tests.benchmarks.step_growth --fractions 0.03125 0.125 --json growth.json

One row an option of the hybrid VAE: without histories, and with each kind of history summed over a batch's
own rows and over everything (``whole``: what a step did before, and still does where it is cheaper).
Ratings are made up with the activity of ML-32M's people and films; every figure is the median of ``--steps``
steps after three, one after the other in one process.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.hybrid_vae import network as network_module
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.optim.device import pick_device

USERS, ITEMS, RATINGS = 200_948, 84_432, 20_500_000
WARM_UP = 3
BASE = {"dot_product": 32, "biases": True}
OPTIONS: dict[str, dict[str, object]] = {
    "formula": {},
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


def step_milliseconds(data: TrainingData, options: dict[str, object], *, steps: int, whole: bool) -> float:
    """Median of a step; ``whole`` sums all histories at each."""
    chosen = network_module.cheaper_by_batch
    network_module.cheaper_by_batch = (lambda *_: False) if whole else (lambda *_: True)
    try:
        trainer = HybridVaeTrainer(
            HybridVaeConfig(**options),  # type: ignore[arg-type]
            data,
            epochs=10,
            seed=0,
            device=pick_device(),
        )
    finally:
        network_module.cheaper_by_batch = chosen
    trainer.network.train()
    order = trainer.noise.order(len(data.train)).split(trainer.config.batch_size)[: steps + WARM_UP]
    seconds = []
    began = time.perf_counter()
    for rows, histories in zip(order, trainer._histories(order), strict=True):
        trainer._step(rows, 0.5, histories)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds.append(now - began)
        began = now
    return 1000 * float(np.median(seconds[WARM_UP:]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fractions", type=float, nargs="+", default=[1 / 32, 1 / 8])
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed (default 8)")
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--no-whole", action="store_true", help="leave the sums over everything out")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    rows = []
    for fraction in chosen.fractions:
        ratings = ratings_of_shape(fraction)
        data = TrainingData(ratings, ratings.take(np.arange(100)))
        for option in chosen.options:
            for whole in (False, True):
                if whole and (option == "formula" or chosen.no_whole):
                    continue
                value = step_milliseconds(data, OPTIONS[option], steps=chosen.steps, whole=whole)
                rows.append({"fraction": fraction, "option": option, "whole": whole, "milliseconds": value})
                label = f"{option}{', whole sums' if whole else ''}"
                print(f"{fraction:8.4f} of the shape  {label:28}{value:9.1f} ms a step", flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
