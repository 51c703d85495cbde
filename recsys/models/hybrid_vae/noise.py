"""Random numbers of training: dropout masks, the latent's normals and the order of ratings.

A GPU has torch's fused dropout. On a CPU Bernoulli masks cost half of a step (measured: 46 ms for 4.3
million). There a single call draws a byte for each activation (1 ms); a unit is dropped where its byte is
below 256 p, and the others are scaled by the exact share kept, so that expectations are right although p is
rounded to 1/256. ReLU and dropout share a pass over memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Noise:
    """Random streams of a training on a device, with a state for checkpoints."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device=device).manual_seed(seed % 2**63)
        # numpy's SFC64 fills bytes twice as fast as torch's Mersenne twister.
        self._numpy = np.random.SFC64(seed)

    def bytes(self, *shape: int) -> Tensor:
        """Uniform uint8 of ``shape``, on the host."""
        count = math.prod(shape)
        words = (count + 7) // 8
        return torch.from_numpy(self._numpy.random_raw(words).view(np.uint8))[:count].view(shape)

    def fused_dropout(self, x: Tensor, share: float) -> Tensor:
        """Dropout of ``share`` on a GPU: torch.nn.functional.dropout with this generator instead of the
        global one."""
        return torch._fused_dropout(x, 1 - share, generator=self.generator)[0]

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape of ``like``."""
        return torch.randn(like.shape, generator=self.generator, device=self.device)

    def order(self, count: int) -> Tensor:
        """(count,) a random permutation of 0 to ``count`` - 1."""
        return torch.randperm(count, generator=self.generator, device=self.device)

    def state(self) -> dict[str, NDArray[Any]]:
        """For ``load_state``."""
        inner = self._numpy.state
        return {
            "torch": self.generator.get_state().numpy().copy(),
            "numpy": np.array(inner["state"]["state"], dtype=np.uint64),
            "numpy_spare": np.array([inner["has_uint32"], inner["uinteger"]], dtype=np.uint64),
        }

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Restores ``state``."""
        self.generator = torch.Generator(device=self.device)
        self.generator.set_state(torch.from_numpy(np.array(state["torch"])))
        inner = self._numpy.state
        inner["state"]["state"] = np.array(state["numpy"], dtype=np.uint64)
        inner["has_uint32"], inner["uinteger"] = (int(value) for value in state["numpy_spare"])
        self._numpy.state = inner


def threshold(share: float) -> int:
    """The byte below which a unit is dropped for dropout of ``share``: at most 255, so that not all are."""
    return min(round(256 * share), 255)


class _Dropout(torch.autograd.Function):
    """``x`` where its byte of ``noise`` is at least ``cut`` (above 0), times ``scale``; 0 elsewhere.

    No boolean tensors: on a CPU comparing and multiplying by one costs five times the arithmetic (measured).
    ``noise`` is overwritten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, cut: int, scale: float) -> Tensor:
        keep = _zero_or_one(noise, cut, x.dtype)
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return (x * keep).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (keep,) = ctx.saved_tensors
        return (gradients[0] * keep).mul_(ctx.scale), None, None, None


class _RectifiedDropout(torch.autograd.Function):
    """ReLU, then dropout: the output is above 0 where a unit passed, so that no mask is stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, noise: Tensor, cut: int, scale: float) -> Tensor:
        passed = torch.relu(x).mul_(_zero_or_one(noise, cut, x.dtype)).mul_(scale)
        ctx.save_for_backward(passed)
        ctx.scale = scale
        return passed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (passed,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], passed, 0).mul_(ctx.scale), None, None, None


def _zero_or_one(noise: Tensor, cut: int, dtype: torch.dtype) -> Tensor:
    return noise.clamp_(cut - 1, cut).sub_(cut - 1).to(dtype)


def dropout(x: Tensor, share: float, noise: Noise | None, *, rectify: bool = False) -> Tensor:
    """Dropout, after ReLU if requested.

    Args:
        x: Of any shape.
        share: Probability of a unit to be dropped.
        noise: None in evaluation: nothing is dropped.
        rectify: Whether ReLU is applied first.

    Returns:
        A tensor of the shape of ``x``.
    """
    cut = threshold(share)
    if noise is None or cut == 0:
        return torch.relu(x) if rectify else x
    if noise.device.type != "cpu":
        return noise.fused_dropout(torch.relu(x) if rectify else x, share)
    function = _RectifiedDropout if rectify else _Dropout
    dropped: Tensor = function.apply(x, noise.bytes(*x.shape), cut, 256 / (256 - cut))  # type: ignore[no-untyped-call]
    return dropped
