"""From a link to stars, in numpy: one sigmoid onto the scale, or the expected level of an ordinal output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import RatingScale
from recsys.types import Arrays, FloatArray


@dataclass(frozen=True)
class StarLink:
    """``low`` stars plus, for each cutpoint, its ``step`` times the chance to be above it. The sigmoid onto
    the scale is the case of one cutpoint at 0 and one step, the span of the scale."""

    low: np.float32
    cuts: NDArray[np.float32]
    steps: NDArray[np.float32]

    @staticmethod
    def of(arrays: Arrays, scale: RatingScale) -> StarLink:
        if "ordinal.cuts" not in arrays:
            return StarLink(
                np.float32(scale.low), np.zeros(1, np.float32), np.full(1, scale.span, np.float32)
            )
        levels = arrays["ordinal.levels"]
        return StarLink(levels[0], arrays["ordinal.cuts"], np.diff(levels))

    def stars(self, link: FloatArray, sharpness: FloatArray) -> NDArray[np.float32]:
        """Expected stars, of the shape of ``link``; ``sharpness`` () or (n,) is the user's, 1 where nobody
        has one."""
        stars = np.full(link.shape, self.low, dtype=np.float32)
        for cut, step in zip(self.cuts, self.steps, strict=True):
            stars += step / (1 + np.exp(sharpness * (cut - link)))
        return stars

    def slopes(self, link: FloatArray, sharpness: FloatArray) -> NDArray[np.float32]:
        """Their derivative by the link."""
        slopes = np.zeros(link.shape, dtype=np.float32)
        for cut, step in zip(self.cuts, self.steps, strict=True):
            above = 1 / (1 + np.exp(sharpness * (cut - link)))
            slopes += sharpness * step * above * (1 - above)
        return slopes
