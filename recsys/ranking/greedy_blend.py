"""Greedy ensemble selection (Caruana et al. 2004): again and again add the member that helps most.

Scores are divided by each member's mean best score first, so that a step means the same for all; on
ML-100K and ML-1M raw sums of scores do as well as z-scores and better than reciprocal ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.metrics.ranking import best_of, evaluate_lists

STEPS = 10  # additions at most
GAIN = 0.0005  # of NDCG that one more addition must bring, as a share
WORSE = 0.01  # of the best alone's NDCG
LIST = 10
NEAR = 0.03  # of the best NDCG: on ML-100K's validation ALS and EDLAE at equal weight are 1% above the better


@dataclass(frozen=True)
class GreedyBlend:
    """``weights`` (members,) on the members' raw scores; ``ndcg`` of the blend; ``alone`` (members,)."""

    weights: NDArray[np.float64]
    ndcg: float
    alone: NDArray[np.float64]
    scales: NDArray[np.float64]


def blend_greedily(
    scores: Sequence[NDArray[np.float32]],
    relevant: sp.csr_matrix,
    *,
    families: Sequence[str] | None = None,
    costs: Sequence[float] | None = None,
    most: float | None = None,
) -> GreedyBlend:
    """Weights of members by NDCG@10.

    Args:
        scores: A (users, items) array a member, -inf where an item must not be listed.
        relevant: (users, items), the items a good list holds.
        families: Each member's. The best of every family that is within NEAR of the best of all begins in
            the blend, unless they lose more than WORSE: what another family adds is more than one holdout
            can tell. None: the best alone begins.
        costs: What each member costs once it has a weight, e.g. milliseconds a list.
        most: That the members may cost together; the first, the best alone, is free to cost more. None: any.

    Returns:
        The blend; weights that were not needed are 0.

    Raises:
        ValueError: Without members, or where no user has a relevant item.
    """
    if not scores:
        raise ValueError("no members to blend, expected at least one")
    scales = np.array([_mean_best(one) for one in scores])
    units = [one / np.float32(scale) for one, scale in zip(scores, scales, strict=True)]
    alone = np.array([_ndcg(one, relevant) for one in units])
    counts = np.zeros(len(units))
    for member in _beginners(alone, families):
        if not counts.any() or most is None or costs is None or _spent(costs, counts) + costs[member] <= most:
            counts[member] = 1
    total = np.sum([units[member] for member in np.flatnonzero(counts)], axis=0)
    best = _ndcg(total, relevant)
    if best < (1 - WORSE) * alone.max():
        counts = (np.arange(len(units)) == np.argmax(alone)).astype(np.float64)
        total, best = units[int(np.argmax(alone))].copy(), float(alone.max())
    for _ in range(STEPS - int(counts.sum())):
        spent = 0.0 if costs is None else _spent(costs, counts)
        tried = [
            _ndcg(total + one, relevant)
            if counts[place] or most is None or costs is None or spent + costs[place] <= most
            else -np.inf
            for place, one in enumerate(units)
        ]
        member = int(np.argmax(tried))
        if tried[member] < best * (1 + GAIN):
            break
        total += units[member]
        counts[member] += 1
        best = tried[member]
    return GreedyBlend(counts / counts.sum() / scales, best, alone, scales)


def _beginners(alone: NDArray[np.float64], families: Sequence[str] | None) -> list[int]:
    """The best member of each family that is near the best of all, best first."""
    kinds = ["" for _ in alone] if families is None else list(families)
    best: dict[str, int] = {}
    for member in np.argsort(-alone, kind="stable"):
        if alone[member] >= (1 - NEAR) * alone.max():
            best.setdefault(kinds[member], int(member))
    return list(best.values())


def _spent(costs: Sequence[float], counts: NDArray[np.float64]) -> float:
    return float(np.dot(costs, counts > 0))


def _mean_best(scores: NDArray[np.float32]) -> float:
    best = scores.max(axis=1)
    best = best[np.isfinite(best) & (best > 0)]
    return float(best.mean()) if len(best) else 1.0


def _ndcg(scores: NDArray[np.float32], relevant: sp.csr_matrix) -> float:
    return evaluate_lists(best_of(scores, LIST), relevant).ndcg
