"""Output of the network in numpy: from a link to stars, by a sigmoid or as expectation of ordinal levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import RatingScale
from recsys.types import Arrays, FloatArray


@dataclass(frozen=True)
class StarLink:
    """``low`` stars plus, for each cutpoint, its ``step`` times the probability to be above it. The sigmoid
    onto the scale is a single cutpoint at 0 with the scale's span as its step."""

    low: np.float32
    cuts: NDArray[np.float32]
    steps: NDArray[np.float32]

    @staticmethod
    def of(arrays: Arrays, scale: RatingScale) -> StarLink:
        """The output of a packed network with ``arrays``."""
        if "ordinal.cuts" not in arrays:
            return StarLink(
                np.float32(scale.low), np.zeros(1, np.float32), np.full(1, scale.span, np.float32)
            )
        levels = arrays["ordinal.levels"]
        return StarLink(levels[0], arrays["ordinal.cuts"], np.diff(levels))

    def stars(self, link: FloatArray, sharpness: FloatArray) -> NDArray[np.float32]:
        """Expected stars.

        Args:
            link: (n,).
            sharpness: () or (n,) of the user; 1 for a model without.

        Returns:
            (n,).
        """
        stars = np.full(link.shape, self.low, dtype=np.float32)
        for cut, step in zip(self.cuts, self.steps, strict=True):
            stars += step / (1 + np.exp(sharpness * (cut - link)))
        return stars

    def slopes(self, link: FloatArray, sharpness: FloatArray) -> NDArray[np.float32]:
        """(n,) derivatives of ``stars`` by the link; arguments as ``stars``."""
        slopes = np.zeros(link.shape, dtype=np.float32)
        for cut, step in zip(self.cuts, self.steps, strict=True):
            above = 1 / (1 + np.exp(sharpness * (cut - link)))
            slopes += sharpness * step * above * (1 - above)
        return slopes
