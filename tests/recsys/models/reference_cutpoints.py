"""Cutpoints of the ordinal output in numpy, the reference of the batched sampler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from recsys.models.bayes_mf.basis import Array
from recsys.models.bayes_mf.observation import initial_cutpoints


class ReferenceCutpoints:
    """Cutpoints of the ordinal output, moved by a random walk whose step adapts to accept half."""

    def __init__(self, labels: NDArray[np.int64], levels: int) -> None:
        self.labels = labels
        self.values = initial_cutpoints(labels, levels)
        self.step = 0.01

    def sweep(self, score: Array, scale: Array, random: np.random.Generator) -> None:
        """``scale`` (n,) root of each rating's precision."""
        proposed = self.values + self.step * random.standard_normal(len(self.values))
        now = self._log_likelihood(self.values, score, scale)
        then = -np.inf
        if np.all(np.diff(proposed) > 0):
            then = self._log_likelihood(proposed, score, scale)
        if np.log(random.random()) < then - now:
            self.values, self.step = proposed, self.step * 1.1
        else:
            self.step *= 0.96

    def _shares(self, cuts: Array, score: Array, scale: Array) -> tuple[Array, Array]:
        """Distribution functions at both ends of each rating's interval."""
        ends = np.concatenate([[-np.inf], cuts, [np.inf]])
        low: Array = ndtr((ends[self.labels] - score) * scale)
        high: Array = ndtr((ends[self.labels + 1] - score) * scale)
        return low, high

    def likelihood(self, score: Array, scale: Array) -> Array:
        """(n,) probability of each rating given its score."""
        low, high = self._shares(self.values, score, scale)
        return high - low

    def _log_likelihood(self, cuts: Array, score: Array, scale: Array) -> float:
        low, high = self._shares(cuts, score, scale)
        return float(np.log(np.maximum(high - low, 1e-12)).sum())

    def noise(self, score: Array, scale: Array, random: np.random.Generator) -> Array:
        """(n,) the noise that puts each score into its rating's interval."""
        low, high = self._shares(self.values, score, scale)
        share = low + (high - low) * random.random(len(low))
        drawn: Array = ndtri(np.clip(share, 1e-10, 1 - 1e-10)) / scale
        return drawn
