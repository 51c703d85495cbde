"""Predictions of many pairs from posterior samples, on the device: a trial's validation.

The same figures as ``posterior_samples.sampled_stars``, which predicts for a packed member in numpy.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.models.bayes_mf.posterior_samples import PosteriorSamples
from recsys.types import IntArray

PAIRS = {"cpu": 1024, "cuda": 262_144}  # of a batch, whose vectors stay in a CPU's cache or fill a GPU


class PairPrediction:
    """Samples as tables on a device, made once for all pairs."""

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
        self._users, self._items, self._user_precisions, self._item_precisions = (
            torch.from_numpy(table).to(device)
            for table in (samples.users, samples.items, samples.user_precisions, samples.item_precisions)
        )
        self._cuts = samples.cutpoints.mean(axis=0, dtype=np.float64).tolist()
        self._levels, self._centre, self._device = levels.tolist(), centre, device

    def stars(self, users: IntArray, items: IntArray) -> NDArray[np.float32]:
        """Expected stars of pairs, not clipped.

        Args:
            users: (n,) rows.
            items: (n,) rows.

        Returns:
            (n,) stars.
        """
        size = PAIRS[self._device.type]
        rows = [
            torch.from_numpy(side.astype(np.int32, copy=False)).to(self._device).split(size)
            for side in (users, items)
        ]
        batches = [self._batch(*batch) for batch in zip(*rows, strict=True)] if len(users) else []
        return torch.cat(batches).cpu().numpy() if batches else np.zeros(0, dtype=np.float32)

    def _batch(self, users: Tensor, items: Tensor) -> Tensor:
        user_vectors, item_vectors = (
            table.index_select(0, rows).float()
            for table, rows in ((self._users, users), (self._items, items))
        )
        scores = torch.linalg.vecdot(user_vectors[..., :-1], item_vectors[..., :-1])
        scores += user_vectors[..., -1] + item_vectors[..., -1]  # (pairs, kept)
        variance, mean = torch.var_mean(scores, dim=1, correction=0)
        if not self._levels:
            return mean + self._centre
        user_precisions = self._user_precisions.index_select(0, users)
        variance += 1 / (user_precisions * self._item_precisions.index_select(0, items))
        root_precision = variance.rsqrt()
        stars = torch.full_like(mean, self._levels[-1])
        for index, cut in enumerate(self._cuts):
            step = self._levels[index + 1] - self._levels[index]
            stars -= step * torch.special.ndtr((cut - mean) * root_precision)
        return stars
