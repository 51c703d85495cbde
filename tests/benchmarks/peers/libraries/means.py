"""Not a library: damped means of items and users, and popularity, which every peer should beat."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.peers.problem import Array, Problem

DISTRIBUTION = ""


def damped(rows: Array, rest: Array, count: int, damping: float) -> Array:
    """(count,) mean of ``rest`` by row, drawn to 0 by ``damping`` ratings."""
    sums = np.bincount(rows, weights=rest, minlength=count)
    means: Array = sums / np.maximum(np.bincount(rows, minlength=count) + damping, 1e-9)
    return means


def rate(problem: Problem, *, seed: int, damping: float) -> Array:
    users, items = problem.shape
    rest = problem.values.astype(np.float64) - problem.mean
    of_items = damped(problem.items, rest, items, damping)
    of_users = damped(problem.users, rest - of_items[problem.items], users, damping)
    return problem.mean + of_items[problem.pair_items] + of_users[problem.pair_users]


def rank(problem: Problem, *, seed: int) -> Array:
    users, items = problem.shape
    return np.broadcast_to(np.bincount(problem.items, minlength=items), (users, items))
