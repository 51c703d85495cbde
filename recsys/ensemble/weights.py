"""Three ways to weigh members, each from the moments of their predictions alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from recsys.ensemble.moments import Moments

GREEDY_ROUNDS = 50
Weights = NDArray[np.float64]


def mean(moments: Moments) -> Weights:
    """Equal weights."""
    members = len(moments.cross)
    return np.full(members, 1 / members)


def greedy(moments: Moments, rounds: int = GREEDY_ROUNDS) -> Weights:
    """Selection with replacement (Caruana et al. 2004): add, again and again, the member that helps the
    mean of those chosen most; keep the best prefix. Weights are shares of ``rounds`` choices, sum 1."""
    chosen = np.zeros(len(moments.cross))
    best, best_mse = chosen, np.inf
    for size in range(1, rounds + 1):
        # Adding member m: sum vector s + e_m; its error needs only G s, the diagonal and c.
        along = moments.gram @ chosen
        squared = (chosen @ along + 2 * along + np.diag(moments.gram)) / size**2
        squared -= 2 * (chosen @ moments.cross + moments.cross) / size
        chosen = chosen.copy()
        chosen[int(np.argmin(squared))] += 1
        mse = moments.mse(chosen / size)
        if mse < best_mse - 1e-12:
            best, best_mse = chosen / size, mse
    return best


def non_negative(moments: Moments) -> Weights:
    """Non-negative least squares (Breiman 1996, stacked regressions): no weight below 0, no sum asked for.

    Solved on a square root of the Gram matrix, with a ridge of 1e-9 of its size against equal members."""
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
