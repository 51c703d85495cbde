"""One user's Gaussian process over items, in closed form (Rasmussen & Williams 2006, chapter 2).

What a user's ratings differ from their prior mean by is f(i) + noise, and f has the kernel
k(i, j) = z_i . z_j + smooth / (1 + |z_i - z_j|^2 / (2 length)): the factorisation's own prior, and a rational
quadratic over the same vectors. The first alone is that factorisation's user given the items; the second
lets near items agree more than any dot product of so few columns can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotrs

Single = NDArray[np.float32]

LONGEST = 2048  # newest ratings of a user that are regressed on: bounds the cube of their number
FOLDED = 512  # the same while somebody waits for a list: milliseconds, not a tenth of a second


@dataclass(frozen=True)
class Kernel:
    """``smooth`` and ``length`` in stars squared, as the vectors' products are."""

    smooth: float
    length: float

    def between(self, ones: Single, others: Single) -> Single:
        """(n, m) covariances of items with vectors ``ones`` (n, rank) and ``others`` (m, rank)."""
        linear: Single = ones @ others.T
        if self.smooth == 0:
            return linear
        distance = np.square(ones).sum(axis=1)[:, None] + np.square(others).sum(axis=1) - 2 * linear
        linear += np.float32(self.smooth) / (1 + np.maximum(distance, 0) * np.float32(0.5 / self.length))
        return linear


def regress(kernel: Kernel, vectors: Single, residuals: Single, noise: Single) -> Single:
    """(n,) weights: f at an item is its covariances with the rated ones times these.

    ``vectors`` (n, rank) of the rated items, ``residuals`` (n,) stars beyond the prior mean, ``noise`` (n,)
    their variances. Raises FloatingPointError where arrays have gone bad."""
    if len(residuals) == 0:
        return np.zeros(0, dtype=np.float32)
    covariance = kernel.between(vectors, vectors)
    covariance[np.diag_indices(len(residuals))] += noise
    root, failed = spotrf(covariance, lower=1, overwrite_a=1)
    weights: Single = spotrs(root, residuals, lower=1)[0]
    if failed or not np.isfinite(weights).all():  # LAPACK lets what is not a number pass
        raise FloatingPointError(
            f"the covariances of {len(residuals)} rated items are not numbers, or too alike"
        )
    return weights
