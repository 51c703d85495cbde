"""Fits of ensemble weights from the moments of the members' predictions: mean, greedy, non-negative."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from recsys.ensemble.moments import Moments

GREEDY_ROUNDS = 50
Weights = NDArray[np.float64]


def mean(moments: Moments) -> Weights:
    """Equal weights.

    Args:
        moments: Of the members' predictions.

    Returns:
        (members,) that sum to 1.
    """
    members = len(moments.cross)
    return np.full(members, 1 / members)


def greedy(moments: Moments, rounds: int = GREEDY_ROUNDS) -> Weights:
    """Forward selection with replacement (Caruana et al. 2004).

    Each round adds the member that helps the mean of those selected most; the best prefix is kept.

    Args:
        moments: Of the members' predictions.
        rounds: Of selection.

    Returns:
        (members,) shares of the selection, sum 1.
    """
    counts = np.zeros(len(moments.cross))
    best, best_mse = counts, np.inf
    for size in range(1, rounds + 1):
        # Adding member m: sum vector s + e_m; its error needs only G s, the diagonal and c.
        product = moments.gram @ counts
        squared = (counts @ product + 2 * product + np.diag(moments.gram)) / size**2
        squared -= 2 * (counts @ moments.cross + moments.cross) / size
        counts = counts.copy()
        counts[int(np.argmin(squared))] += 1
        mse = moments.mse(counts / size)
        if mse < best_mse - 1e-12:
            best, best_mse = counts / size, mse
    return best


def non_negative(moments: Moments) -> Weights:
    """Non-negative least squares (Breiman 1996, stacked regressions); the weights need not sum to 1.

    Solved on a square root of the Gram matrix, with a ridge of 1e-9 of its size against equal members.

    Args:
        moments: Of the members' predictions.

    Returns:
        (members,) 0 or more.
    """
    members = len(moments.cross)
    ridge = 1e-9 * float(np.trace(moments.gram)) / members
    root = np.linalg.cholesky(moments.gram + ridge * np.eye(members))
    weights: Weights = scipy.optimize.nnls(root.T, np.linalg.solve(root, moments.cross))[0]
    return weights


METHODS: dict[str, Callable[[Moments], Weights]] = {
    "mean": mean,
    "greedy": greedy,
    "non_negative": non_negative,
}
