"""Training speed of the formula, side by side with the plan's way and with what the machine can do.

    python -m tests.benchmarks.training --users 6040 --items 3706 --ratings 200000

Prints milliseconds a step at batch 2048 with dropout on, ratings a second, the same for rows fetched one
at a time by a DataLoader and torch's own dropout (the owner's plan), and the floor: the step's matrix
products alone at the machine's measured speed. Ratios hold on a busy machine, times do not.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from recsys.data.ratings import Ratings, RatingScale
from recsys.data.split import TrainingData
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.optim.device import pick_device

BATCH = 2048
# Multiply-adds of one rating forward, encoder, latent heads and decoder; backward costs twice that.
PRODUCTS = 300 * 512 + 512 * 256 + 256 * 128 + 2 * 128 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512


def made_up(users: int, items: int, count: int) -> TrainingData:
    random = np.random.default_rng(0)
    ratings = Ratings(
        users=random.integers(0, users, count).astype(np.int32),
        items=random.integers(0, items, count).astype(np.int32),
        values=random.integers(1, 6, count).astype(np.float32),
        times=None,
        scale=RatingScale(1, 5),
        user_count=users,
        item_count=items,
    )
    return TrainingData(ratings, ratings.take(np.arange(count // 20)))


class PlansNetwork(nn.Module):
    """The formula with torch's own layers, as one would write it first."""

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, 150), nn.Embedding(items, 150)
        self.before = nn.Dropout(0.2)
        self.encoder = nn.Sequential(*self.blocks([300, 512, 256, 128]))
        self.mean, self.log_variance = nn.Linear(128, 64), nn.Linear(128, 64)
        self.decoder = nn.Sequential(*self.blocks([64, 128, 256, 512]), nn.Linear(512, 1))

    @staticmethod
    def blocks(widths: list[int]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(0.4)]
        return layers

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.encoder(self.before(torch.cat([self.users(users), self.items(items)], dim=1)))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()
        return 1 + 4 * torch.sigmoid(self.decoder(z).squeeze(1)), kl


def plans_step(data: TrainingData, device: torch.device) -> tuple[float, float]:
    """Seconds a step with rows one at a time, and of the step alone."""
    train = data.train
    columns = (torch.from_numpy(train.users).long(), torch.from_numpy(train.items).long())
    rows = TensorDataset(*columns, torch.from_numpy(train.values))
    network = PlansNetwork(train.user_count, train.item_count).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4, weight_decay=3e-5)
    fetching = stepping = 0.0
    count, started = 0, time.perf_counter()
    for users, items, values in DataLoader(rows, batch_size=BATCH, shuffle=True):
        fetched = time.perf_counter()
        fetching += fetched - started
        stars, kl = network(users.to(device), items.to(device))
        loss = (stars - values.to(device)).square().mean() + 0.01 * kl
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        loss.item()
        started = time.perf_counter()
        stepping += started - fetched
        count += 1
        if count == 8:
            break
    return (fetching + stepping) / count, stepping / count


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """The median of ``repeats``."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def product_floor(device: torch.device, dtype: torch.dtype) -> float:
    """Seconds for a step's multiply-adds at the speed of one square product."""
    a, b = (torch.randn(2048, 1024 if side else 2048, device=device).to(dtype) for side in (0, 1))
    speed = 2048 * 2048 * 1024 / seconds_of(lambda: a @ b, 7)
    return 3 * PRODUCTS * BATCH / speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--users", type=int, default=6040)
    parser.add_argument("--items", type=int, default=3706)
    parser.add_argument("--ratings", type=int, default=40_960)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    data = made_up(options.users, options.items, options.ratings)
    steps = max(1, len(data.train) // BATCH)
    trainer = HybridVaeTrainer(HybridVaeConfig(), data, epochs=10, seed=0, device=device)
    trainer.train_epoch()
    ours = seconds_of(trainer.train_epoch, 3) / steps
    plans, plans_alone = plans_step(data, device)
    whole, half = (product_floor(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    shape = f"{options.users} users, {options.items} items, batch {BATCH}"
    print(f"formula, {shape}, {device}, {options.threads} threads")
    lines = {
        "this project": ours,
        "the plan: rows one at a time": plans,
        "the plan: its step alone": plans_alone,
        "floor: products, float32": whole,
        "floor: products, bfloat16": half,
    }
    for name, seconds in lines.items():
        speed = f"{1000 * seconds:8.1f} ms/step {BATCH / seconds:12,.0f} ratings/s"
        print(f"{name:32} {speed} {seconds / ours:6.2f} x ours")


if __name__ == "__main__":
    main()
