"""From a latent score to a rating: ordered probit (Albert & Chib 1993), or stars with Gaussian noise.

Ordinal: the rating is the level whose interval between cutpoints holds score + noise; the noise is drawn
(so that the rest of the model stays linear) and the cutpoints move by a random walk with that noise
integrated out (Cowles 1996). Expected stars are a sum of normal distribution functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from recsys.models.bayes_mf.basis import Array

# More distinct ratings than this are taken as a continuous scale.
MOST_LEVELS = 21


def levels_of(values: NDArray[np.float32], output: str) -> Array:
    """(levels,) distinct ratings for an ordinal output; empty where the output is, or must be, Gaussian."""
    result = np.unique(values).astype(np.float64)
    if output == "gaussian" or not 2 <= len(result) <= MOST_LEVELS:
        return np.zeros(0)
    return result


def expected_stars(score: Array, variance: Array | float, cutpoints: Array, levels: Array) -> Array:
    """E[rating] for a latent N(score, variance), noise included in ``variance``.

    ``cutpoints`` (levels - 1,). The integral over a Gaussian score is exact:
    E[Phi(c - f)] = Phi((c - mean) / sd).
    """
    deviation = np.sqrt(variance)
    stars = np.full(np.shape(score), levels[-1])
    for cut, step in zip(cutpoints, np.diff(levels), strict=True):
        stars -= step * ndtr((cut - score) / deviation)
    return stars


def first_cutpoints(labels: NDArray[np.int64], levels: int) -> Array:
    share = np.cumsum(np.bincount(labels, minlength=levels))[:-1] / len(labels)
    # Scores spread beside the noise: intervals start a little wider than the marginal's.
    cuts: Array = 1.15 * ndtri(np.clip(share, 1e-4, 1 - 1e-4))
    return cuts


class Cutpoints:
    """Cutpoints of the ordinal output, moved by a random walk whose step adapts to accept half."""

    def __init__(self, labels: NDArray[np.int64], levels: int) -> None:
        self.labels = labels
        self.values = first_cutpoints(labels, levels)
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


def row_precisions(
    squared: Array, rows: NDArray[Any], counts: Array, prior: float, random: np.random.Generator
) -> Array:
    """Noise precision of each row, Gamma with ``prior`` ratings of weight behind 1, geometric mean 1.

    ``squared`` (n,) noise squared, already in units of everything else's precision.
    """
    total = np.bincount(rows, squared, minlength=len(counts))
    drawn: Array = random.gamma(0.5 * (prior + counts)) / (0.5 * (prior + total))
    # Only the product with the other side's and the overall precision is identified.
    drawn /= np.exp(np.log(drawn).mean())
    return drawn
