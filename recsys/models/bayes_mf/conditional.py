"""Conditional mean of a user's vector given their ratings and a posterior sample of everything else.

Gaussian noise needs one regression. Ordered levels need a few rounds of expectation-maximisation, with every
rating replaced by the mean of its truncated latent (Albert & Chib 1993). Each round steps a little beyond its
result, since successive steps point the same way (over-relaxed EM, Salakhutdinov & Roweis 2003).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

MOST = 256  # newest ratings that a fold-in regresses on: bounds it to milliseconds
# ML-100K, 5 to 200 ratings: predicted stars are within 0.0002 (root mean square) of 60 plain rounds, against
# 0.001 after 4 plain rounds.
ROUNDS = 4
RELAXATION = 1.2


def conditional_mean(
    solve: Callable[[Array], Array],
    start: Array,
    design: Array,
    offset: Array,
    values: Array,
    *,
    levels: Array,
    centre: float,
    cutpoints: NDArray[np.float32],
    scale: Array,
) -> Array:
    """A user's vectors with scores ``design @ vector + offset``, for each sample.

    Args:
        solve: Regression of (kept, n) latent targets to (kept, width) vectors.
        start: (kept, width) initial vectors.
        design: (kept, n, width).
        offset: (kept, n).
        values: (n,) stars.
        levels: (levels,) of an ordinal output; empty for Gaussian noise.
        centre: Subtracted from Gaussian stars.
        cutpoints: (kept, levels - 1).
        scale: (kept, n) root of each rating's noise precision.

    Returns:
        (kept, width) vectors.
    """
    if len(levels) == 0:
        return solve(np.broadcast_to(values - centre, offset.shape))
    open_end = np.full((len(cutpoints), 1), np.inf)
    cuts = np.concatenate([-open_end, cutpoints, open_end], axis=1)
    labels = np.abs(values[:, None] - levels).argmin(axis=1)
    low, high = cuts[:, labels], cuts[:, labels + 1]
    vectors = start
    for _ in range(ROUNDS):
        score = (design @ vectors[:, :, None])[:, :, 0] + offset
        result = solve(score + truncated_mean(low - score, high - score, scale))
        vectors = vectors + RELAXATION * (result - vectors)
    return vectors


def truncated_mean(low: Array, high: Array, scale: Array) -> Array:
    """Mean of a truncated normal distribution around 0.

    Args:
        low: Lower ends of the intervals, of any shape.
        high: Upper ends, of the same shape.
        scale: Root of the precision before truncation, of the same shape.

    Returns:
        Means of that shape.
    """
    low, high = low * scale, high * scale
    mass = np.maximum(ndtr(high) - ndtr(low), 1e-9)
    mean: Array = (np.exp(-0.5 * low * low) - np.exp(-0.5 * high * high)) / mass
    return np.asarray(mean / (np.sqrt(2 * np.pi) * scale))
