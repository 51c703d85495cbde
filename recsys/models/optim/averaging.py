"""Averages of weights over a training: SWA (Izmailov et al. 2018) and EMA (Polyak & Juditsky 1992).

SWA is the plain mean of the weights at the end of each epoch after its start; EMA follows every step,
with the decay held down early, min(decay, (1 + t) / (10 + t)), so that the start does not linger.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor


class Average:
    """A running average of a list of tensors."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = [tensor.detach().clone() for tensor in tensors]
        self.count = 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Plain mean with what came before."""
        self._lerp(tensors, 1 / (self.count + 1))

    def follow(
        self, tensors: Sequence[Tensor], decay: float, *, apart: Collection[int] = frozenset()
    ) -> float:
        """Exponential average.

        Args:
            tensors: the weights of now.
            decay: share that the average keeps, once it has seen many steps.
            apart: numbers of tensors that somebody else averages, with the weight returned.

        Returns:
            The share of ``tensors`` in the new average.
        """
        weight = 1 - min(decay, (1 + self.count) / (10 + self.count))
        self._lerp(tensors, weight, apart)
        return weight

    @torch.no_grad()
    def _lerp(self, tensors: Sequence[Tensor], weight: float, apart: Collection[int] = frozenset()) -> None:
        pairs = [
            (average, tensor.detach())
            for number, (average, tensor) in enumerate(zip(self.tensors, tensors, strict=True))
            if number not in apart
        ]
        if pairs:
            torch._foreach_lerp_([average for average, _ in pairs], [tensor for _, tensor in pairs], weight)
        self.count += 1
