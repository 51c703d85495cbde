"""Ordered probit in training: truncated normal draws, and the cutpoints' Metropolis random walk.

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
from recsys.models.bayes_mf.observation import initial_cutpoints

FAR = 1e6  # stands for infinity, and times 0 is 0
LEAST = 1e-12  # lower bound of a rating's likelihood


class Cutpoints:
    """Cutpoints of the ordinal output: a random walk whose step size adapts to an acceptance rate of half."""

    def __init__(self, labels: NDArray[np.int64], levels: int) -> None:
        self.values = initial_cutpoints(labels, levels)
        self.step = 0.01

    def proposal(self, random: np.random.Generator) -> Array:
        """(levels - 1,) proposed cutpoints, drawn from ``random``."""
        proposed: Array = self.values + self.step * random.standard_normal(len(self.values))
        return proposed

    def accept_or_reject(self, proposed: Array, log_ratio: float, random: np.random.Generator) -> None:
        """Metropolis step: ``proposed`` becomes ``values`` with probability exp(``log_ratio``), and the step
        size adapts.

        Args:
            proposed: (levels - 1,).
            log_ratio: Of the likelihoods; minus infinity for cutpoints out of order.
            random: Of the decision.
        """
        if np.log(random.random()) < log_ratio:
            self.values, self.step = proposed, self.step * 1.1
        else:
            self.step *= 0.96


def interval_ends(cutpoints: Array, device: torch.device) -> Tensor:
    """(levels + 1,) ends of the levels' intervals: ``cutpoints`` between -FAR and FAR."""
    return torch.tensor([-FAR, *cutpoints.tolist(), FAR], dtype=torch.float32, device=device)


def standard_ends(ends: Tensor, labels: Tensor, score: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Standardised interval of each rating's level.

    Args:
        ends: (levels + 1,) of ``interval_ends``.
        labels: int32 levels, as many as scores.
        score: Latent scores of any shape.
        scale: Root of the noise precision, of that shape.

    Returns:
        Lower and upper ends minus the score, in standard deviations of the noise.
    """
    flat = labels.reshape(-1)
    low = (ends.index_select(0, flat).view_as(score) - score) * scale
    high = (ends.index_select(0, flat + 1).view_as(score) - score) * scale
    return low, high


def interval_mass(low: Tensor, high: Tensor) -> Tensor:
    """Probability of a standard normal between ``low`` and ``high``, elementwise."""
    _, first, last = _mirrored(low, high)
    return _normal_cdf(last) - _normal_cdf(first)


def truncated_normal(low: Tensor, high: Tensor, quantiles: Tensor) -> Tensor:
    """Standard normal truncated to ``low`` .. ``high`` at ``quantiles`` in (0, 1), elementwise."""
    sign, first, last = _mirrored(low, high)
    start = _normal_cdf(first)
    quantile = start + (_normal_cdf(last) - start) * quantiles
    drawn = quantile.mul_(2).sub_(1).clamp_(-1 + 1e-7, 1 - 1e-7).erfinv_().mul_(math.sqrt(2))
    return torch.minimum(torch.maximum(drawn, first), last).mul_(sign)


def _mirrored(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sign and interval: -1 and the mirrored interval where it is above 0, else 1. Without torch.where, which
    is ten times as slow on a CPU."""
    sign = torch.copysign(low.new_ones(()), -low)
    low, high = low * sign, high * sign
    return sign, torch.minimum(low, high), torch.maximum(low, high)


def _normal_cdf(ends: Tensor) -> Tensor:
    """Probability below ``ends``, clamped where erfc would underflow, which is 25 times as slow on a CPU."""
    return (ends * -math.sqrt(0.5)).clamp_max_(9.0).erfc_().mul_(0.5)
