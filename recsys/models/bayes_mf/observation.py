"""Observation model of ratings: ordered probit (Albert & Chib 1993), or stars with Gaussian noise.

Ordinal: the rating is the level whose interval between cutpoints contains score + noise; the noise is sampled
(so that the rest of the model stays linear) and the cutpoints follow a random walk with that noise
integrated out (Cowles 1996). Expected stars are a sum of normal distribution functions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

# More distinct ratings than this count as a continuous scale.
MOST_LEVELS = 21


def rating_levels(values: NDArray[np.float32], output: str) -> Array:
    """Levels of an ordinal output.

    Args:
        values: (n,) stars.
        output: "ordinal" or "gaussian".

    Returns:
        (levels,) distinct ratings, ascending; empty where the output is Gaussian or there are not 2 to
        ``MOST_LEVELS`` levels.
    """
    result = np.unique(values).astype(np.float64)
    if output == "gaussian" or not 2 <= len(result) <= MOST_LEVELS:
        return np.zeros(0)
    return result


def expected_stars(score: Array, variance: Array | float, cutpoints: Array, levels: Array) -> Array:
    """E[rating] under an ordered probit; the integral over a Gaussian score is exact:
    E[Phi(c - f)] = Phi((c - mean) / sd).

    Args:
        score: (n,) latent means.
        variance: (n,) of the latent, noise included.
        cutpoints: (levels - 1,).
        levels: (levels,) stars.

    Returns:
        (n,) stars.
    """
    deviation = np.sqrt(variance)
    stars = np.full(np.shape(score), levels[-1])
    for cut, step in zip(cutpoints, np.diff(levels), strict=True):
        stars -= step * ndtr((cut - score) / deviation)
    return stars


def initial_cutpoints(labels: NDArray[np.int64], levels: int) -> Array:
    """(levels - 1,) cutpoints at which the noise alone reproduces the shares of ``labels`` (n,)."""
    share = np.cumsum(np.bincount(labels, minlength=levels))[:-1] / len(labels)
    # Scores vary too, so the intervals start a little wider than under noise alone.
    cuts: Array = 1.15 * ndtri(np.clip(share, 1e-4, 1 - 1e-4))
    return cuts


def row_precisions(total: Array, counts: Array, prior: float, random: np.random.Generator) -> Array:
    """Draws the noise precision of each row from its Gamma conditional.

    Args:
        total: (rows,) sums of squared noise, in units of the other precisions.
        counts: (rows,) ratings.
        prior: Ratings that the prior precision of 1 weighs as much as.
        random: Of the draws.

    Returns:
        (rows,) with geometric mean 1.
    """
    drawn: Array = random.gamma(0.5 * (prior + counts)) / (0.5 * (prior + total))
    # Only the product with the other side's and the overall precision is identified.
    drawn /= np.exp(np.log(drawn).mean())
    return drawn
