"""Lanes of trials: which share a machine's GPUs, which run on the other cores, and with how many. Pure.

A family that uses no GPU holds none: its trials run on the cores that the GPU's trials leave. Without a GPU
all trials are of one lane. Cores are those that Ray counts, which a pod gets from its cgroup's quota.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from recsys.types import JsonObject

HOST_CORES = 2  # of a trial on a GPU: one launches its kernels, one prepares its batches
CORES_BESIDE = 4  # of a trial that uses no GPU, where there are so many
MOST_A_CARD = 4
FILLED = 0.8  # share of a card's memory that shared trials may take
FULL = 0.8  # a card that kernels keep busy so much of the time gains nothing from another trial


@dataclass(frozen=True)
class NodeResources:
    """What Ray counts on one machine."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Lane:
    """``at_once`` trials, each with ``cpus`` cores and ``gpus`` of a card."""

    name: str
    at_once: int
    cpus: float
    gpus: float = 0.0

    @property
    def request(self) -> JsonObject:
        """What one trial asks of Ray."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    def text(self, where: str = "") -> str:
        each = f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        return f"{self.at_once} trials at once{where}, {each} each"


@dataclass(frozen=True)
class Lanes:
    """``gpu`` is None where there is none: everything runs in ``cpu``."""

    cpu: Lane
    gpu: Lane | None = None

    def lane(self, uses_gpu: bool) -> Lane:
        """Where a trial of such a family runs."""
        return self.gpu if uses_gpu and self.gpu is not None else self.cpu

    @property
    def at_once(self) -> int:
        return self.cpu.at_once + (0 if self.gpu is None else self.gpu.at_once)

    @property
    def trials_a_card(self) -> int:
        """Trials that share a card; 1 without one."""
        return 1 if self.gpu is None else max(1, round(1 / self.gpu.gpus))

    def sharing(self, trials: int) -> Lanes:
        """The same machines, each card shared by so many trials and its host's cores divided among them."""
        if self.gpu is None or trials == self.trials_a_card:
            return self
        by = trials / self.trials_a_card
        shared = Lane("gpu", int(self.gpu.at_once * by), self.gpu.cpus / by, self.gpu.gpus / by)
        return Lanes(self.cpu, shared)

    def text(self, where: str) -> str:
        if self.gpu is None:
            return self.cpu.text(where)
        return f"{self.gpu.text(where)}; of families that use no GPU {self.cpu.text()}"


SINGLE_TRIAL = Lanes(Lane("cpu", 1, 1.0))


def make_lanes(nodes: Iterable[NodeResources], *, concurrency: int | None, gpus_per_trial: float) -> Lanes:
    """Lanes on these machines.

    Args:
        nodes: Machines that Ray counts.
        concurrency: The most trials at once of each lane; None: as many as fit.
        gpus_per_trial: Share of a card that a trial holds; 0 leaves the cards alone.
    """
    nodes = list(nodes)
    cpus = sum(node.cpus for node in nodes) or 1.0
    on_cards = [int(node.gpus / gpus_per_trial + 1e-6) if gpus_per_trial else 0 for node in nodes]
    if not sum(on_cards):
        at_once = concurrency or max(2, int(cpus // 2))
        return Lanes(Lane("cpu", at_once, float(max(1, int(cpus // at_once)))))
    share = [_host_cores(node, count) for node, count in zip(nodes, on_cards, strict=True)]
    host = min(cores for cores, count in zip(share, on_cards, strict=True) if count)
    free = [node.cpus - host * count for node, count in zip(nodes, on_cards, strict=True)]
    beside = min(float(CORES_BESIDE), max(free))
    beside = float(int(beside)) if beside >= 1 else beside
    fitting = sum(int(cores / beside + 1e-6) for cores in free if cores > 0)
    most = math.inf if concurrency is None else concurrency
    return Lanes(
        Lane("cpu", int(max(1, min(fitting, most))), beside),
        Lane("gpu", int(max(1, min(sum(on_cards), most))), host, gpus_per_trial),
    )


def _host_cores(node: NodeResources, on_cards: int) -> float:
    """Cores of one trial on a GPU: so many that a CPU trial has at least as many."""
    cores = int(node.cpus / (on_cards + 1)) if on_cards else HOST_CORES
    return float(min(HOST_CORES, cores)) if cores else node.cpus / (on_cards + 1)


def trials_a_card(*, memory_share: float, busy_share: float) -> int:
    """How many trials share a GPU, from the memory and time that one alone on it takes.

    Args:
        memory_share: Of the card's memory; 0 where it was not measured.
        busy_share: Of the time, in which the card computes; in the rest it waits for the host.
    """
    if not 0 < memory_share <= 1 or not 0 < busy_share < FULL:
        return 1
    return max(1, min(int(FILLED / memory_share), math.ceil(FULL / busy_share), MOST_A_CARD))


@dataclass
class CardUse:
    """What the epochs of trials that had a card for themselves took of it.

    ``floor_seconds`` is an epoch's, were moving the tables through the card's memory all that took time; 0 is
    not known: then no trial joins another.
    """

    floor_seconds: float = 0.0
    memory_share: float = 0.0  # the most
    _seconds: list[float] = field(default_factory=list)

    def epoch(self, seconds: float, memory_share: float) -> None:
        """Count an epoch that was trained alone on its card."""
        self._seconds.append(seconds)
        self.memory_share = max(self.memory_share, memory_share)

    @property
    def busy_share(self) -> float:
        """Of an epoch; 0 before one was measured."""
        seconds = sum(self._seconds)
        return min(1.0, self.floor_seconds * len(self._seconds) / seconds) if seconds > 0 else 0.0

    @property
    def trials(self) -> int:
        """How many are to share a card."""
        return trials_a_card(memory_share=self.memory_share, busy_share=self.busy_share)

    def text(self) -> str:
        held, busy = f"{self.memory_share:.0%}", f"{self.busy_share:.0%}"
        return f"one holds {held} of its memory and computes {busy} of the time"
