"""Ordered probit in training: truncated normals elementwise, and the cutpoints' random walk.

Single precision throughout. An interval above the score is mirrored below it, where the distribution
function keeps its relative precision.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.models.bayes_mf.basis import Array
from recsys.models.bayes_mf.observation import first_cutpoints

FAR = 1e6  # stands for infinity, and times 0 is 0
LEAST = 1e-12  # likelihood of a rating, at least


class Cutpoints:
    """Cutpoints of the ordinal output, moved by a random walk whose step adapts to accept half."""

    def __init__(self, labels: NDArray[np.int64], levels: int) -> None:
        self.values = first_cutpoints(labels, levels)
        self.step = 0.01

    def proposal(self, random: np.random.Generator) -> Array:
        """(levels - 1,) where the walk would go."""
        proposed: Array = self.values + self.step * random.standard_normal(len(self.values))
        return proposed

    def decide(self, proposed: Array, log_ratio: float, random: np.random.Generator) -> None:
        """Metropolis: ``log_ratio`` is the likelihood's gain, minus infinity for cutpoints out of order."""
        if np.log(random.random()) < log_ratio:
            self.values, self.step = proposed, self.step * 1.1
        else:
            self.step *= 0.96


def ends_of(cutpoints: Array, device: torch.device) -> Tensor:
    """(levels + 1,) where the levels' intervals begin and end."""
    return torch.tensor([-FAR, *cutpoints.tolist(), FAR], dtype=torch.float32, device=device)


def standard_ends(ends: Tensor, labels: Tensor, score: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Each rating's interval less its score, in deviations of its noise. ``labels`` int32, any shape."""
    flat = labels.reshape(-1)
    low = (ends.index_select(0, flat).view_as(score) - score) * scale
    high = (ends.index_select(0, flat + 1).view_as(score) - score) * scale
    return low, high


def interval_mass(low: Tensor, high: Tensor) -> Tensor:
    """Probability of a standard normal between ``low`` and ``high``."""
    _, first, last = _mirrored(low, high)
    return _below(last) - _below(first)


def truncated_normal(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    """The standard normal between ``low`` and ``high`` at quantile ``share`` in (0, 1)."""
    sign, first, last = _mirrored(low, high)
    start = _below(first)
    quantile = start + (_below(last) - start) * share
    drawn = quantile.mul_(2).sub_(1).clamp_(-1 + 1e-7, 1 - 1e-7).erfinv_().mul_(math.sqrt(2))
    return torch.minimum(torch.maximum(drawn, first), last).mul_(sign)


def _mirrored(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The interval, mirrored where it lies above 0, and -1 there, else 1. Without torch.where, which takes a
    CPU ten times as long."""
    sign = torch.copysign(low.new_ones(()), -low)
    one, other = low * sign, high * sign
    return sign, torch.minimum(one, other), torch.maximum(one, other)


def _below(ends: Tensor) -> Tensor:
    """Probability below ``ends``. Where erfc would underflow a CPU takes 25 times as long."""
    return (ends * -math.sqrt(0.5)).clamp_max_(9.0).erfc_().mul_(0.5)
