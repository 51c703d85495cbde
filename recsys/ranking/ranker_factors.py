"""Fold-in of a user into a factor model: the half step of implicit ALS, or a network after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.models.base import History
from recsys.types import Arrays, JsonObject


@dataclass(frozen=True)
class RankerFactors:
    """A factor model in a blend.

    Attributes:
        start, stop: Its columns of the ranker's factors.
        share: Weight of its scores.
        weight: Settings of a rating's weight, as in ``Ranker``.
        ridge: Settings of the ridge, as in ``Ranker``; None: a user is the weighted sum of the factors of
            the history (spectral.py).
        network: Prefix of its network's arrays, or None.
    """

    start: int
    stop: int
    share: float
    weight: JsonObject
    ridge: JsonObject | None
    network: str | None = None

    def encode(self, network: Arrays, history: History) -> NDArray[np.float32]:
        """A user's vector by a network.

        Args:
            network: Its arrays by name.
            history: The user's.

        Returns:
            (k + 1,), times ``share``.
        """
        unscaled = replace(self, share=1.0)
        solved = unscaled.solve(network["items"][history.items], network["gram"], history)
        encoded = solved + np.tanh(solved @ network["w1"] + network["b1"]) @ network["w2"]
        return np.append(self.share * encoded, self.share).astype(np.float32)

    def solve(
        self, rated: NDArray[np.float32], gram: NDArray[np.float32], history: History
    ) -> NDArray[np.float32]:
        """A user's vector by a half step of ALS.

        Args:
            rated: (n, k) factors of the items of ``history``.
            gram: (k, k) of all items, times the weight of an unrated pair.
            history: The user's n ratings.

        Returns:
            (k,), times ``share``.
        """
        weights = self._weights(history)
        weighted = rated * weights[:, None]
        if self.ridge is None:
            return np.asarray(self.share * weighted.sum(axis=0), dtype=np.float32)
        system = gram + weighted.T @ rated
        system[np.diag_indices_from(system)] += self.ridge["fixed"] + self.ridge["per_rating"] * weights.sum()
        return np.asarray(self.share * np.linalg.solve(system, weighted.sum(axis=0)), dtype=np.float32)

    def _weights(self, history: History) -> NDArray[np.float32]:
        """(n,) weights of a history's ratings."""
        weight = self.weight
        damped = (len(history.items) / weight["typical"]) ** -weight["damping"]
        if not weight.get("liking"):
            return np.full(len(history.items), damped, dtype=np.float32)
        liked = 1 + (history.values - weight["low"]) / weight["span"]
        return np.asarray(damped * (liked / weight["mean"]) ** weight["liking"], dtype=np.float32)
