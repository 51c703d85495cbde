"""Ratings as pairs on the device, marked where they are in the training histories.

A prediction of a training rating leaves that rating out of the histories, as training does: otherwise the
label leaks into the error on train.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.data.ratings import Ratings
from recsys.models.hybrid_vae.history import Pairs
from recsys.models.hybrid_vae.network import HybridVae


class PairBuilder:
    """Makes ``Pairs`` for one network and its training ratings."""

    def __init__(
        self,
        network: HybridVae,
        train: Ratings,
        device: torch.device,
        left_out: NDArray[np.float32] | None = None,
    ) -> None:
        """
        Args:
            network: Whose histories mark the pairs.
            train: The training slice.
            device: Of the pairs.
            left_out: (n,) of the training ratings, from the ``WarmStart``, or None.
        """
        self.device = device
        self.histories, self._left_out = network.config.history != "none", left_out
        self._levels = network.levels
        if not self.histories and left_out is None:
            return
        self._items = train.item_count
        keys = self._keys(train)
        self._order = np.argsort(keys)
        self._sorted = keys[self._order]
        if not self.histories:
            return
        self._centred = (train.values - np.float32(network.centre)).astype(np.float32)
        self._in_user = network.user_history.kept.astype(np.float32)
        self._in_item = network.item_history.kept.astype(np.float32)

    def _keys(self, ratings: Ratings) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return ratings.users.astype(np.int64) * self._items + ratings.items

    def _put(self, array: np.ndarray[tuple[int], np.dtype[np.generic]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def __call__(self, ratings: Ratings) -> Pairs:
        """The pairs of any ratings, in order."""
        pairs = self._without_levels(ratings)
        if self._levels is None:
            return pairs
        user_level, item_level = (self._put(level) for level in self._levels.bins(ratings))
        return replace(pairs, user_level=user_level, item_level=item_level)

    def _without_levels(self, ratings: Ratings) -> Pairs:
        users, items = self._put(ratings.users), self._put(ratings.items)
        if not self.histories and self._left_out is None:
            return Pairs(users, items)
        keys = self._keys(ratings)
        index = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        known = self._sorted[index] == keys
        rows = self._order[index]
        left_out = None
        if self._left_out is not None:
            left_out = self._put(np.where(known, self._left_out[rows], 0).astype(np.float32))
        if not self.histories:
            return Pairs(users, items, left_out=left_out)
        return Pairs(
            users,
            items,
            self._put(np.where(known, self._centred[rows], 0).astype(np.float32)),
            self._put(np.where(known, self._in_user[rows], 0).astype(np.float32)),
            self._put(np.where(known, self._in_item[rows], 0).astype(np.float32)),
            left_out,
        )
