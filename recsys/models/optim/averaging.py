"""Weight averaging: SWA (Izmailov et al. 2018) and EMA (Polyak & Juditsky 1992).

SWA is the plain mean of the weights at the end of each epoch after its start; EMA is updated at every step,
with a lower decay at first, min(decay, (1 + t) / (10 + t)), so that the initial weights are soon forgotten.
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
        """Updates the plain mean by ``tensors``, of the shapes given to the constructor."""
        self._lerp(tensors, 1 / (self.count + 1))

    def follow(
        self, tensors: Sequence[Tensor], decay: float, *, apart: Collection[int] = frozenset()
    ) -> float:
        """Updates the exponential moving average.

        Args:
            tensors: The current weights.
            decay: Weight of the old average, after many steps.
            apart: Indices of tensors that the caller averages, with the weight returned.

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
            for index, (average, tensor) in enumerate(zip(self.tensors, tensors, strict=True))
            if index not in apart
        ]
        if pairs:
            torch._foreach_lerp_([average for average, _ in pairs], [tensor for _, tensor in pairs], weight)
        self.count += 1
