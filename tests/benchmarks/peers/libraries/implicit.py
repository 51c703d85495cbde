"""implicit: weighted alternating least squares and Bayesian personalised ranking on who rated what."""

from __future__ import annotations

from typing import Any

import implicit  # type: ignore[import-not-found]
import numpy as np

from tests.benchmarks.peers.problem import Array, Problem

DISTRIBUTION = "implicit"


def rank(problem: Problem, *, seed: int, model: str, **settings: Any) -> Array:
    build = {
        "als": implicit.cpu.als.AlternatingLeastSquares,
        "bpr": implicit.cpu.bpr.BayesianPersonalizedRanking,
    }
    if model == "bpr" and len(problem.fold_in_users):
        raise ValueError("BPR has no factors for people whom it did not learn from")
    fitted = build[model](random_state=seed, **settings)
    fitted.fit(problem.rated(binary=True).astype(np.float32), show_progress=False)
    factors = fitted.user_factors
    if len(problem.fold_in_users):
        histories = problem.histories(binary=True).astype(np.float32)
        factors = fitted.recalculate_user(np.arange(len(factors)), histories)
    scores: Array = factors @ fitted.item_factors.T
    return scores
