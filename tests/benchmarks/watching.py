"""What watching a trial costs, as a share of training itself: under 1% of a step is the aim.

    python -m tests.benchmarks.watching

Watching is what is done only to see trouble coming: the rules over the reports, the sample of train for the
gap, the largest gradient norm, KL and active dimensions of the latent, memory. Not watching is what training
needs anyway and would do unwatched: predicting valid (early stopping, the learning rate's plateau, the best
epoch) and clipping, which computes the norm. Both are shown.

Everything is timed beside the epoch that it belongs to, in one process, on ratings of ML-100K's shape; a
share is the median over epochs, so it holds on a busy machine, times do not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.models.hybrid_vae.evaluation_network import BATCH
from recsys.models.hybrid_vae.losses import kl_by_dimension
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.optim.device import memory_share
from recsys.training.diagnostics import DiagnosticMonitor, diverged
from recsys.training.trial import Trial
from recsys.training.trial_types import EpochReport, TrialSpec
from tests.benchmarks.training import made_up

LIMIT = 0.01
CONFIGS: dict[str, dict[str, Any]] = {
    "formula": {},
    "factorised, histories": {
        **{"factors": 64, "hidden": [128, 64], "latent": 32, "biases": True, "dot_product": 32},
        **{"history": "ratings", "normalisation": "layer", "embedding_scale": 0.01},
    },
    "small": {"factors": 16, "hidden": [32, 16], "latent": 8},
}
REPORTS = [EpochReport(number, 1, 0.8, 0.9, 0.9, 0.95, 0.7, kl=0.2) for number in range(1, 101)]
VALID = "predicting valid: training's own, not watching"


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def largest_norm(trainer: HybridVaeTrainer, steps: int) -> None:
    """What an epoch's steps do with the norm that clipping gave."""
    norm, gradient = torch.zeros((), device=trainer.device), torch.ones((), device=trainer.device)
    for _ in range(steps):
        norm = torch.maximum(norm, torch.nan_to_num(gradient, nan=torch.inf))


@torch.no_grad()
def latent_of(trainer: HybridVaeTrainer, rows: int) -> Callable[[], None]:
    """What predicting ``rows`` ratings spends on their KL, beside the prediction."""
    config, size = trainer.config, BATCH[trainer.device.type]
    mean = torch.randn(min(rows, size), config.latent, device=trainer.device)

    @torch.no_grad()
    def work() -> None:
        total = torch.zeros(config.latent, device=trainer.device)
        for start in range(0, rows, size):
            part = mean[: rows - start]
            total += kl_by_dimension(part, part) * len(part)
        (total / rows > 0.01).float().mean().item()

    return work


def rules() -> None:
    DiagnosticMonitor(epochs=100, latent=True).update(REPORTS)
    diverged(REPORTS[-1], REPORTS[:-1])


def shares(fields: dict[str, Any], device: str, epochs: int) -> tuple[float, int, dict[str, float]]:
    """Seconds and steps of an epoch, and what each part costs as a share of it."""
    data = made_up(943, 1682, 90_000)
    spec = TrialSpec(0, "watched", "hybrid_vae", fields, epochs=epochs, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(spec, data, folder=Path(folder), device=device)
    trainer = trial.trainer
    assert isinstance(trainer, HybridVaeTrainer)
    steps = -(-len(data.train) // trainer.config.batch_size)
    parts: dict[str, Callable[[], object]] = {
        f"the gap: predicting {len(trial.sample)} ratings of train": lambda: trainer.predict(trial.sample),
        "KL and active dimensions": latent_of(trainer, len(data.valid)),
        "the largest gradient norm": lambda: largest_norm(trainer, steps),
        "the rules, over 100 reports": rules,
        "memory": lambda: memory_share(trainer.device),
        VALID: lambda: trainer.predict(data.valid),
    }
    epoch_seconds, rows = [], []
    for number in range(epochs + 1):
        took = seconds(trainer.train_epoch)
        trainer.predictor()
        costs = {name: seconds(work) / took for name, work in parts.items()}
        if number:  # the first one warms up
            epoch_seconds.append(took)
            rows.append(costs)
    medians = {name: float(np.median([row[name] for row in rows])) for name in parts}
    return float(np.median(epoch_seconds)), steps, medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, fields in CONFIGS.items():
        epoch, steps, costs = shares(fields, options.device, options.epochs)
        print(f"{name}, batch 2048: {1000 * epoch / steps:.1f} ms a step, {steps} steps an epoch")
        for part, share in costs.items():
            print(f"    {part:<52}{share:>8.3%} of a step")
        watching = sum(share for part, share in costs.items() if part != VALID)
        print(f"    {'watching':<52}{watching:>8.3%}, {'under' if watching < LIMIT else 'OVER'} {LIMIT:.0%}")


if __name__ == "__main__":
    main()
