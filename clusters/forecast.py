"""Forecast of a plan on a card: trials, hours, dollars and memory, from a throughput model.

A training step takes the longer of two floors: launching its kernels from the host, and moving the tables
that dense Adam touches through the card's memory. Constants were measured on the owner's formula at ML-32M's
shape (issue 16): about 230 kernels in 4.7 ms of host time, 1.9 GB moved a step; the owner's own run on an
A100 took 3.8 ms a step. Pure functions: no clock, no network, no file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BATCH = 2048
HOST_MS = 4.7  # launching one step's kernels
BYTES_MOVED_A_PARAMETER = 28  # dense Adam: reads parameter, gradient, two moments; writes three of them
PARAMETERS_A_ROW = 238  # the formula's, a user or item, so that a step moves 1.9 GB at ML-32M's shape
BYTES_HELD_A_PARAMETER = 16
FIXED_GB = 2.5  # CUDA context, activations of a batch, indices in flight
BYTES_HELD_A_RATING = 24  # users, items, values and the history index of both sides
# A Gibbs sweep on a card, as its prototype predicts: 0.16 s on an RTX A6000 and 0.10 s on an H100 for 20.5M
# ratings. A CPU's core takes 600 to 800 ns a rating.
SWEEP_NS_A_RATING = 4.0
SWEEP_BYTES_A_RATING = 2900
CHAIN_SWEEPS = 300  # of a chain, spread over its epochs
# Memory (GB) and memory bandwidth (GB/s) by the data sheets.
CARDS = {
    "NVIDIA RTX A6000": (48, 768),
    "NVIDIA RTX 6000 Ada Generation": (48, 960),
    "NVIDIA L40S": (48, 864),
    "NVIDIA A40": (48, 696),
    "NVIDIA A100 80GB PCIe": (80, 1935),
    "NVIDIA A100-SXM4-80GB": (80, 2039),
    "NVIDIA H100 PCIe": (80, 2000),
    "NVIDIA H100 80GB HBM3": (80, 3350),
    "NVIDIA H200": (141, 4800),
    "NVIDIA GeForce RTX 4090": (24, 1008),
    "NVIDIA GeForce RTX 3090": (24, 936),
    "NVIDIA RTX A5000": (24, 768),
    "NVIDIA RTX A4000": (16, 448),
}


@dataclass(frozen=True)
class Workload:
    """What a plan asks for: counts of trials, epochs a trial, and the size of the training slice."""

    name: str
    ratings: int
    users: int
    items: int
    network_trials: int
    factorisation_trials: int
    epochs: int
    reference_trials: int = 0
    reference_epochs: int = 0
    grace_epochs: int = 0  # 0: nothing is pruned
    reduction: float = 2.0
    finish_hours: float = 0.0
    epoch_steps: int | None = None  # at most; None: all of train

    @property
    def steps(self) -> int:
        """Of an epoch."""
        full = math.ceil(self.ratings / BATCH)
        return full if self.epoch_steps is None else min(full, self.epoch_steps)

    @property
    def trials(self) -> int:
        return self.network_trials + self.factorisation_trials + self.reference_trials


@dataclass(frozen=True)
class Forecast:
    """``trials`` of ``planned`` fit into ``hours``; the plan alone would need ``needed_hours``."""

    planned: int
    trials: int
    needed_hours: float
    hours: float
    usd: float
    memory_gb: float

    def text(self) -> str:
        if self.trials >= self.planned:
            return f"all {self.planned} trials in about {self.hours:.1f} h, about ${self.usd:.2f}"
        return (
            f"needs {self.needed_hours:.1f} h, will end at {self.hours:.1f} h after about {self.trials} of "
            f"{self.planned} trials, about ${self.usd:.2f}"
        )


def step_ms(workload: Workload, bandwidth_gb: float) -> float:
    """Milliseconds a training step: the longer of the launch floor and the bandwidth floor."""
    return max(HOST_MS, bandwidth_ms(workload, bandwidth_gb))


def bandwidth_ms(workload: Workload, bandwidth_gb: float) -> float:
    """Milliseconds a training step takes to move the tables through the card's memory."""
    moved = BYTES_MOVED_A_PARAMETER * PARAMETERS_A_ROW * (workload.users + workload.items)
    return moved / (bandwidth_gb * 1e9) * 1e3


def memory_gb(workload: Workload, *, trials_per_gpu: int = 1) -> float:
    """GB that the trials of one card hold at once."""
    tables = BYTES_HELD_A_PARAMETER * PARAMETERS_A_ROW * (workload.users + workload.items)
    each = FIXED_GB + (tables + BYTES_HELD_A_RATING * workload.ratings) / 1e9
    return each * trials_per_gpu


def mean_epochs(epochs: int, *, grace: int, reduction: float) -> float:
    """Epochs of a searched trial on average: at each rung one of ``reduction`` goes on.

    Args:
        epochs: the most that a trial trains.
        grace: the first rung; 0 where nothing is pruned.
        reduction: one of so many survives a rung.
    """
    if not grace or grace >= epochs:
        return float(epochs)
    total, rung, share = float(grace), float(grace), 1.0
    while rung < epochs:
        share /= reduction
        following = min(rung * reduction, float(epochs))
        total += share * (following - rung)
        rung = following
    return total


def expected_epochs(workload: Workload) -> float:
    """Epochs of a workload's searched trial on average."""
    return mean_epochs(workload.epochs, grace=workload.grace_epochs, reduction=workload.reduction)


def epoch_hours(workload: Workload, gpu: str) -> float:
    """Hours of one epoch of a network on a known card, by the model."""
    return workload.steps * step_ms(workload, CARDS[gpu][1]) / 3.6e6


def chain_hours(workload: Workload, gpu: str) -> float:
    """Hours of one Bayesian factorisation's chain on a known card, by the model."""
    nanoseconds = SWEEP_NS_A_RATING + SWEEP_BYTES_A_RATING / CARDS[gpu][1]
    return CHAIN_SWEEPS * workload.ratings * nanoseconds / 3.6e12


def forecast(
    workload: Workload,
    gpu: str,
    *,
    gpus: int,
    usd_per_hour: float,
    max_hours: float,
    max_usd: float,
    trials_per_gpu: int = 1,
    network_ratio: float = 1.0,
    chain_ratio: float = 1.0,
) -> Forecast | None:
    """What ``workload`` comes to on ``gpus`` cards of one type; None where the card is not known.

    Args:
        workload: the plan.
        gpu: the card's name, as in the cluster YAML.
        gpus: cards in the whole cluster.
        usd_per_hour: of the whole cluster.
        max_hours: cap on wall time.
        max_usd: cap on dollars.
        trials_per_gpu: trials that share a card, and its memory.
        network_ratio: measured seconds of a network's epoch by the model's, per trial at once.
        chain_ratio: the same of a chain of Gibbs sweeps.
    """
    if gpu not in CARDS:
        return None
    epoch, chain = network_ratio * epoch_hours(workload, gpu), chain_ratio * chain_hours(workload, gpu)
    reference = workload.reference_trials * workload.reference_epochs * epoch
    networks = workload.network_trials * expected_epochs(workload) * epoch
    chains = workload.factorisation_trials * chain
    search_hours = (reference + networks + chains) / max(1, gpus)
    cap = min(max_hours, max_usd / usd_per_hour if usd_per_hour > 0 else math.inf)
    room = max(0.5 * cap, cap - workload.finish_hours)
    share = min(1.0, room / search_hours) if search_hours > 0 else 1.0
    needed = search_hours + workload.finish_hours
    hours = min(needed, cap)
    trials = workload.trials if share == 1.0 else int(share * workload.trials)
    memory = memory_gb(workload, trials_per_gpu=trials_per_gpu)
    return Forecast(workload.trials, trials, needed, hours, hours * usd_per_hour, memory)
