"""State of a trainer as named arrays, for exact checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.models.base import with_prefix, without_prefix
from recsys.models.hybrid_vae.noise import Noise
from recsys.models.hybrid_vae.warm_start import WarmStart
from recsys.models.optim.averaging import Average
from recsys.models.optim.schedules import Plateau
from recsys.types import Arrays


@dataclass(frozen=True)
class TrainingState:
    """The mutable state of a training; ``left_out`` is its start's, None without one."""

    network: nn.Module
    weights: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    ema: Average | None
    swa: Average | None
    plateau: Plateau
    noise: Noise
    left_out: NDArray[np.float32] | None


def collect(training: TrainingState, *, epoch: int) -> Arrays:
    """Collects weights, statistics, optimizer, averages, plateau, random state, epoch, and what the network
    does not hold of a start.

    Args:
        training: Between two epochs.
        epoch: Epochs trained so far.

    Returns:
        Copies, by name.
    """
    arrays: Arrays = {"epoch": np.array([epoch])}
    if training.left_out is not None:
        arrays["start/left_out"] = training.left_out  # constant: no copy
    for name, tensor in training.network.state_dict().items():
        arrays[f"network/{name}"] = tensor.detach().cpu().numpy().copy()
    moments = training.optimizer.state_dict()["state"]
    for index, values in moments.items():
        for name, tensor in values.items():
            arrays[f"optimizer/{index}/{name}"] = tensor.detach().cpu().numpy().copy()
    for label, average in (("ema", training.ema), ("swa", training.swa)):
        if average is not None:
            arrays[f"{label}/count"] = np.array([average.count])
            for index, tensor in enumerate(average.tensors):
                arrays[f"{label}/{index}"] = tensor.detach().cpu().numpy().copy()
    plateau = training.plateau
    arrays["plateau"] = np.array([plateau.best, plateau.bad_epochs, plateau.scale], dtype=np.float64)
    return arrays | with_prefix("noise", training.noise.state())


def saved_start(state: Mapping[str, NDArray[Any]]) -> WarmStart | None:
    """The factorisation that a training with ``state`` started from; None without one."""
    if "start/left_out" not in state:
        return None
    return WarmStart(
        users=np.array(state["network/start_users"]),
        items=np.array(state["network/start_items"]),
        offset=float(state["network/start_offset"]),
        left_out=np.array(state["start/left_out"]),
    )


def restore(training: TrainingState, state: Mapping[str, NDArray[Any]]) -> int:
    """Restores a state; averages that it lacks start from its weights.

    Args:
        training: With the same config and data; changed.
        state: Of ``collect``.

    Returns:
        Its epoch.
    """
    for name, tensor in training.network.state_dict().items():
        tensor.copy_(torch.from_numpy(np.array(state[f"network/{name}"])))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for path, array in without_prefix("optimizer", state).items():
        index, name = path.split("/")
        moments.setdefault(int(index), {})[name] = torch.from_numpy(np.array(array))
    groups = training.optimizer.state_dict()["param_groups"]
    training.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    for label, average in (("ema", training.ema), ("swa", training.swa)):
        if average is None:
            continue
        stored = f"{label}/count" in state
        average.count = int(state[f"{label}/count"][0]) if stored else 0
        for number, (tensor, weight) in enumerate(zip(average.tensors, training.weights, strict=True)):
            source = torch.from_numpy(np.array(state[f"{label}/{number}"])) if stored else weight.detach()
            tensor.copy_(source)
    best, bad_epochs, scale = state["plateau"]
    plateau = training.plateau
    plateau.best, plateau.bad_epochs, plateau.scale = float(best), int(bad_epochs), float(scale)
    training.noise.load_state(without_prefix("noise", state))
    return int(state["epoch"][0])
