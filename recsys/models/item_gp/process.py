"""Gaussian process regression over the items of one user (Rasmussen & Williams 2006, chapter 2).

A user's ratings minus their prior mean are f(i) + noise, where f has the kernel
k(i, j) = z_i . z_j + variance / (1 + |z_i - z_j|^2 / (2 squared_lengthscale)): the prior of the factorisation
plus a rational quadratic kernel over the same vectors. The linear kernel alone is the factorisation's user
given the items; the other lets similar items agree more than a dot product of few columns can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotrs

Single = NDArray[np.float32]

LONGEST = 2048  # newest ratings of a user in training: the cost is the cube of their number
FOLDED = 512  # the same for a fold-in, which then needs milliseconds instead of a tenth of a second


@dataclass(frozen=True)
class Kernel:
    """A linear plus a rational quadratic kernel over item vectors.

    Attributes:
        variance: Of the rational quadratic kernel, stars squared; 0 for none.
        squared_lengthscale: Of the rational quadratic kernel, stars squared like the vectors' products.
    """

    variance: float
    squared_lengthscale: float

    def covariance(self, vectors: Single, others: Single) -> Single:
        """Covariances of two sets of items.

        Args:
            vectors: (n, rank).
            others: (m, rank).

        Returns:
            (n, m), stars squared.
        """
        linear: Single = vectors @ others.T
        if self.variance == 0:
            return linear
        distance = np.square(vectors).sum(axis=1)[:, None] + np.square(others).sum(axis=1) - 2 * linear
        scale = np.float32(0.5 / self.squared_lengthscale)
        linear += np.float32(self.variance) / (1 + np.maximum(distance, 0) * scale)
        return linear


def regress(kernel: Kernel, vectors: Single, residuals: Single, noise: Single) -> Single:
    """Posterior mean of a user's f, as weights of the rated items.

    Args:
        kernel: Of all users.
        vectors: (n, rank) of the rated items.
        residuals: (n,) stars minus the prior mean.
        noise: (n,) variances of the ratings, stars squared.

    Returns:
        (n,) weights: f of an item is its covariances with the rated items times these.

    Raises:
        FloatingPointError: The covariance is not positive definite, or not finite.
    """
    if len(residuals) == 0:
        return np.zeros(0, dtype=np.float32)
    covariance = kernel.covariance(vectors, vectors)
    covariance[np.diag_indices(len(residuals))] += noise
    root, failed = spotrf(covariance, lower=1, overwrite_a=1)
    weights: Single = spotrs(root, residuals, lower=1)[0]
    if failed or not np.isfinite(weights).all():  # LAPACK does not report NaN
        raise FloatingPointError(
            f"the covariances of {len(residuals)} rated items are not finite, or nearly singular"
        )
    return weights
