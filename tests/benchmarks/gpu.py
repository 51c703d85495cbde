"""What a card, or this CPU, does with ML-32M's shape: one table, and one JSON.

    python -m tests.benchmarks.gpu --json gpu.json
    python -m tests.benchmarks.gpu --small

Milliseconds a training step of each option beside its floors (bytes that dense Adam moves at the measured
bandwidth, launches at the measured time of one), seconds a Gibbs sweep and its start, the item process of
all users, ALS, top-10 lists of a sample of users scaled to all, a checkpoint, and peak memory.
``--small`` is 1/32 of the shape, with the growth of a step from 1/32 to 1/4.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
import torch

from recsys.data.split import TrainingData
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.sampler import Sampler
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.item_gp.config import ItemGpConfig
from recsys.models.item_gp.trainer import ItemGpTrainer
from recsys.models.optim.device import pick_device
from recsys.ranking.als import AlsConfig, fit_als
from recsys.ranking.block_lists import BlockLists
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of
from recsys.training.checkpoint import write_checkpoint
from tests.benchmarks.step_growth import OPTIONS, ratings_of_shape, step_times

SMALL, LARGE = 1 / 32, 1 / 4
KERNELS = 230  # of a step of the formula, counted with the profiler
ADAM_READS = 7  # floats that dense Adam moves a weight: gradient, weight and two moments in, three out
RANKED = 512  # users whose lists are timed


@dataclass(frozen=True)
class Figure:
    """``value`` in ``unit``; ``floor`` what bandwidth and launches alone would take, or None."""

    name: str
    value: float
    unit: str
    floor: float | None = None


class Clock:
    """Seconds of a call, the device's own work included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def seconds(self, function: Callable[[], object]) -> float:
        self._wait()
        began = time.perf_counter()
        function()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def bandwidth(clock: Clock) -> float:
    """Bytes a second of a copy, read and written."""
    source = torch.ones(32_000_000, device=clock.device)
    target = torch.empty_like(source)
    seconds = min(clock.seconds(lambda: target.copy_(source)) for _ in range(5))
    return 8 * len(source) / seconds


def launch_seconds(clock: Clock) -> float:
    """Of the smallest operation, many in a row."""
    entry = torch.ones(1, device=clock.device)

    def many() -> None:
        for _ in range(1000):
            entry.add_(1)

    return min(clock.seconds(many) for _ in range(3)) / 1000


def steps(data: TrainingData, clock: Clock, count: int) -> list[Figure]:
    """Of the formula and of every option, each beside its floor."""
    speed, launch = bandwidth(clock), launch_seconds(clock)
    figures = [
        Figure("bandwidth", speed / 1e9, "GB/s"),
        Figure("launch", launch * 1e6, "us"),
    ]
    for name, options in OPTIONS.items():
        config = HybridVaeConfig(**options)  # type: ignore[arg-type]
        rows = data.train.user_count + data.train.item_count
        moved = ADAM_READS * 4 * rows * (config.factors + config.dot_product)
        floor = 1000 * max(moved / speed, KERNELS * launch)
        variants = ["by row", "dense"] if name == "formula" else ["by row"]
        if clock.device.type == "cuda":
            variants = ["by row", "eager"]  # a card steps densely
        for variant, took in step_times(data, options, variants, steps=count).items():
            tail = {"dense": " (dense Adam)", "eager": " (no CUDA graph)"}.get(variant, "")
            figures.append(Figure(f"step, {name}{tail}", took.wall, "ms", floor))
    return figures


def chain(data: TrainingData, clock: Clock) -> list[Figure]:
    """Start (bases included) and a sweep of the ordinal sampler with 30 factors."""
    made: list[Sampler] = []
    start = clock.seconds(
        lambda: made.append(Sampler(BayesMfConfig(factors=30), data, seed=0, device=clock.device))
    )
    sweeps = [clock.seconds(made[0].sweep) for _ in range(3)]
    return [Figure("Gibbs: start", start, "s"), Figure("Gibbs: a sweep", min(sweeps[1:]), "s")]


def item_process(data: TrainingData, clock: Clock) -> list[Figure]:
    """All users' regressions, after one sweep of the chain."""
    trainer = ItemGpTrainer(ItemGpConfig(), data, epochs=2, seed=0, device=clock.device)
    trainer.sampler.sweep()
    return [Figure("item process, all users", clock.seconds(trainer.fitted), "s")]


def lists(data: TrainingData, clock: Clock) -> list[Figure]:
    """One round of ALS, and exact top-10 lists in blocks, scaled from a sample of users to all."""
    train = data.train
    values = 1 + (train.values - train.scale.low) / train.scale.span
    shape = (train.user_count, train.item_count)
    rated = sparse.csr_matrix((values, (train.users, train.items)), shape=shape)
    alternating = clock.seconds(lambda: fit_als(rated, AlsConfig(rounds=1), seed=0))
    random = np.random.default_rng(0)
    factors, users = (
        random.standard_normal((rows, 64), dtype=np.float32) for rows in (train.item_count, RANKED)
    )
    arrays = {"factors": factors, "users": users, "gram": np.eye(64, dtype=np.float32)}
    settings = {"weight": {"typical": 20.0, "damping": 0.3}, "ridge": {"fixed": 0.1, "per_rating": 0.1}}
    lists = BlockLists(Ranker("als", settings, arrays), clock.device)
    histories = [history_of(rated, user, train.scale) for user in range(RANKED)]
    ranked = min(clock.seconds(lambda: lists.best(histories, range(RANKED), count=10)) for _ in range(3))
    return [
        Figure("ALS: a round", alternating, "s"),
        Figure("top-10 of all users", ranked * train.user_count / RANKED, "s"),
    ]


def checkpoint(data: TrainingData, clock: Clock) -> list[Figure]:
    """The formula's state written to a file, and its size."""
    trainer = HybridVaeTrainer(HybridVaeConfig(), data, epochs=1, seed=0, device=clock.device)
    with tempfile.TemporaryDirectory() as folder:
        seconds = clock.seconds(lambda: write_checkpoint(Path(folder), trainer.state(), {}))
        megabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        return [Figure("checkpoint: written", seconds, "s"), Figure("checkpoint: size", megabytes, "MB")]


def peak_memory(clock: Clock) -> Figure:
    if clock.device.type == "cuda":
        return Figure("peak memory of the card", torch.cuda.max_memory_allocated(clock.device) / 1e9, "GB")
    return Figure("peak memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")


def growth(small: list[Figure], count: int) -> list[Figure]:
    """Of each option's step from 1/32 of the shape, in ``small``, to 1/4, as a ratio."""
    ratings = ratings_of_shape(LARGE)
    data = TrainingData(ratings, ratings.take(np.arange(100)))
    before = {figure.name: figure.value for figure in small}
    figures = []
    for name, options in OPTIONS.items():
        ratio = step_times(data, options, ["by row"], steps=count)["by row"].wall / before[f"step, {name}"]
        figures.append(Figure(f"growth 1/32 to 1/4, {name}", ratio, "x"))
    return figures


def measure(fraction: float, device: torch.device, *, count: int, grow: bool) -> list[Figure]:
    clock = Clock(device)
    ratings = ratings_of_shape(fraction)
    data = TrainingData(ratings, ratings.take(np.arange(1000)))
    figures = _shown(steps(data, clock, count))
    for part in (chain, item_process, lists, checkpoint):
        figures += _shown(part(data, clock))
    if grow:
        figures += _shown(growth(figures, count))
    return figures + _shown([peak_memory(clock)])


def _shown(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        floor = "" if figure.floor is None else f"   floor {figure.floor:.3g}"
        print(f"{figure.name:32}{figure.value:10.3g} {figure.unit}{floor}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="1/32 of the shape, three minutes on a CPU")
    parser.add_argument("--fraction", type=float, help="of ML-32M's shape (default 1, or 1/32 with --small)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed (default 8)")
    parser.add_argument("--json", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    device = pick_device(chosen.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    fraction = chosen.fraction or (SMALL if chosen.small else 1.0)
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {fraction:g} of the shape")
    figures = measure(fraction, device, count=chosen.steps, grow=chosen.small)
    if chosen.json is not None:
        table = {"device": name, "fraction": fraction, "figures": [asdict(figure) for figure in figures]}
        chosen.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
