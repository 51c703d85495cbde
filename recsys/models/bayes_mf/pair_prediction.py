"""Stars of many pairs by posterior samples, on the device: what a trial's epochs are judged by.

The same figures as ``posterior_samples.stars_of``, which answers for a packed member in numpy.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.models.bayes_mf.posterior_samples import PosteriorSamples
from recsys.types import IntArray

PAIRS = {"cpu": 1024, "cuda": 262_144}  # at a time: their vectors stay in a CPU's cache, fill a GPU


class PairPrediction:
    """Tables of the samples on a device, made once for all pairs."""

    def __init__(
        self, samples: PosteriorSamples, *, levels: NDArray[np.float64], centre: float, device: torch.device
    ) -> None:
        """
        Args:
            samples: Of the chain.
            levels: (levels,) of an ordinal output; empty for a Gaussian one.
            centre: Of a Gaussian output, stars.
            device: Where pairs are predicted.
        """
        self._users, self._items, self._of_users, self._of_items = (
            torch.from_numpy(table).to(device)
            for table in (samples.users, samples.items, samples.user_precisions, samples.item_precisions)
        )
        self._cuts = samples.cutpoints.mean(axis=0, dtype=np.float64).tolist()
        self._levels, self._centre, self._device = levels.tolist(), centre, device

    def stars(self, users: IntArray, items: IntArray) -> NDArray[np.float32]:
        """(n,) expected stars of the pairs of ``users`` (n,) and ``items`` (n,), not clipped."""
        size = PAIRS[self._device.type]
        rows = [
            torch.from_numpy(side.astype(np.int32, copy=False)).to(self._device).split(size)
            for side in (users, items)
        ]
        parts = [self._part(*part) for part in zip(*rows, strict=True)] if len(users) else []
        return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, dtype=np.float32)

    def _part(self, users: Tensor, items: Tensor) -> Tensor:
        of_users, of_items = (
            table.index_select(0, rows).float()
            for table, rows in ((self._users, users), (self._items, items))
        )
        scores = torch.linalg.vecdot(of_users[..., :-1], of_items[..., :-1])
        scores += of_users[..., -1] + of_items[..., -1]  # (pairs, kept)
        variance, mean = torch.var_mean(scores, dim=1, correction=0)
        if not self._levels:
            return mean + self._centre
        variance += 1 / (self._of_users.index_select(0, users) * self._of_items.index_select(0, items))
        deviation = variance.rsqrt()
        stars = torch.full_like(mean, self._levels[-1])
        for number, cut in enumerate(self._cuts):
            step = self._levels[number + 1] - self._levels[number]
            stars -= step * torch.special.ndtr((cut - mean) * deviation)
        return stars
