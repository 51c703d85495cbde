"""From a latent score to a rating: ordered probit (Albert & Chib 1993), or stars with Gaussian noise.

Ordinal: the rating is the level whose interval between cutpoints holds score + noise; the noise is drawn
(so that the rest of the model stays linear) and the cutpoints move by a random walk with that noise
integrated out (Cowles 1996). Expected stars are a sum of normal distribution functions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

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


def row_precisions(total: Array, counts: Array, prior: float, random: np.random.Generator) -> Array:
    """Noise precision of each row, Gamma with ``prior`` ratings of weight behind 1, geometric mean 1.

    ``total`` (rows,) sums of squared noise in units of everything else's precision; ``counts`` (rows,).
    """
    drawn: Array = random.gamma(0.5 * (prior + counts)) / (0.5 * (prior + total))
    # Only the product with the other side's and the overall precision is identified.
    drawn /= np.exp(np.log(drawn).mean())
    return drawn
