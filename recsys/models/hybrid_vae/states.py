"""A trainer's whole state as named arrays, and back: what an exact continuation needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.models.hybrid_vae.noise import Noise
from recsys.models.hybrid_vae.warm_start import WarmStart
from recsys.models.optim.averaging import Average
from recsys.models.optim.schedules import Plateau
from recsys.types import Arrays


@dataclass(frozen=True)
class TrainingParts:
    """What a training is made of and changes in place; ``left_out`` is its start's, None without one."""

    network: nn.Module
    weights: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    ema: Average | None
    swa: Average | None
    plateau: Plateau
    noise: Noise
    left_out: NDArray[np.float32] | None


def gather(parts: TrainingParts, *, epoch: int) -> Arrays:
    """Weights, statistics, optimizer, averages, plateau, random state, epoch, and of a start what the
    network does not hold."""
    arrays: Arrays = {"epoch": np.array([epoch])}
    if parts.left_out is not None:
        arrays["start/left_out"] = parts.left_out  # it never changes: no copy
    for name, tensor in parts.network.state_dict().items():
        arrays[f"network/{name}"] = tensor.detach().cpu().numpy().copy()
    moments = parts.optimizer.state_dict()["state"]
    for number, values in moments.items():
        for name, tensor in values.items():
            arrays[f"optimizer/{number}/{name}"] = tensor.detach().cpu().numpy().copy()
    for label, average in (("ema", parts.ema), ("swa", parts.swa)):
        if average is not None:
            arrays[f"{label}/count"] = np.array([average.count])
            for number, tensor in enumerate(average.tensors):
                arrays[f"{label}/{number}"] = tensor.detach().cpu().numpy().copy()
    plateau = parts.plateau
    arrays["plateau"] = np.array([plateau.best, plateau.bad_epochs, plateau.scale], dtype=np.float64)
    for name, array in parts.noise.state().items():
        arrays[f"noise/{name}"] = array
    return arrays


def start_of(state: Mapping[str, NDArray[Any]]) -> WarmStart | None:
    """The factorisation that a training with ``state`` started from; None where it had none."""
    if "start/left_out" not in state:
        return None
    return WarmStart(
        users=np.array(state["network/start_users"]),
        items=np.array(state["network/start_items"]),
        offset=float(state["network/start_offset"]),
        left_out=np.array(state["start/left_out"]),
    )


def restore(parts: TrainingParts, state: Mapping[str, NDArray[Any]]) -> int:
    """Puts ``state`` back and returns its epoch. Averages that the state lacks start from its weights."""
    for name, tensor in parts.network.state_dict().items():
        tensor.copy_(torch.from_numpy(np.array(state[f"network/{name}"])))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for path, array in _under(state, "optimizer"):
        number, name = path.split("/")
        moments.setdefault(int(number), {})[name] = torch.from_numpy(np.array(array))
    groups = parts.optimizer.state_dict()["param_groups"]
    parts.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    for label, average in (("ema", parts.ema), ("swa", parts.swa)):
        if average is None:
            continue
        stored = f"{label}/count" in state
        average.count = int(state[f"{label}/count"][0]) if stored else 0
        for index, (tensor, weight) in enumerate(zip(average.tensors, parts.weights, strict=True)):
            source = torch.from_numpy(np.array(state[f"{label}/{index}"])) if stored else weight.detach()
            tensor.copy_(source)
    best, bad_epochs, scale = state["plateau"]
    plateau = parts.plateau
    plateau.best, plateau.bad_epochs, plateau.scale = float(best), int(bad_epochs), float(scale)
    parts.noise.load_state(dict(_under(state, "noise")))
    return int(state["epoch"][0])


def _under(state: Mapping[str, NDArray[Any]], label: str) -> list[tuple[str, NDArray[Any]]]:
    prefix = f"{label}/"
    return [(name[len(prefix) :], array) for name, array in state.items() if name.startswith(prefix)]
