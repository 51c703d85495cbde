"""Second moments of members' predictions, which determine the error of any blend of them.

The squared error of weights w over n ratings is (w'Gw - 2 w'c + t) / n with G = P P', c = P y, t = y'y,
so five million ratings are read only once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray

CHUNK = 1 << 20  # ratings of a block in float64


@dataclass(frozen=True)
class Moments:
    """``gram`` (members, members), ``cross`` (members,), ``total``: sums over ``count`` ratings, float64."""

    gram: NDArray[np.float64]
    cross: NDArray[np.float64]
    total: float
    count: int

    @classmethod
    def of(cls, predictions: FloatArray, targets: FloatArray) -> Moments:
        """Moments of predictions and targets.

        Args:
            predictions: (members, n) stars.
            targets: (n,) stars.

        Returns:
            Their sums.
        """
        members = len(predictions)
        gram, cross, total = np.zeros((members, members)), np.zeros(members), 0.0
        for start in range(0, len(targets), CHUNK):
            chunk = predictions[:, start : start + CHUNK].astype(np.float64)
            target = targets[start : start + CHUNK].astype(np.float64)
            gram += chunk @ chunk.T
            cross += chunk @ target
            total += float(target @ target)
        return cls(gram, cross, total, len(targets))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.gram + other.gram,
            self.cross + other.cross,
            self.total + other.total,
            self.count + other.count,
        )

    def mse(self, weights: NDArray[np.float64]) -> float:
        """Mean squared error of a weighted sum, before any clipping.

        Args:
            weights: (members,).

        Returns:
            Stars squared.
        """
        squared = float(weights @ self.gram @ weights) - 2 * float(weights @ self.cross) + self.total
        return max(squared, 0.0) / self.count
