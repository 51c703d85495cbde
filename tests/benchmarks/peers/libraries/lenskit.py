"""LensKit: biased and implicit matrix factorisation by alternating least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from lenskit.als import BiasedMFScorer, ImplicitMFScorer  # type: ignore[import-not-found]
from lenskit.data import ItemList, from_interactions_df  # type: ignore[import-not-found]
from lenskit.training import TrainingOptions  # type: ignore[import-not-found]

from tests.benchmarks.peers.problem import Array, Problem

DISTRIBUTION = "lenskit"


def scores_of(problem: Problem, seed: int, model: Any) -> Array:
    """(users, items) float32, NaN where LensKit gives none."""
    frame = pd.DataFrame({"user_id": problem.users, "item_id": problem.items, "rating": problem.values})
    model.train(from_interactions_df(frame), TrainingOptions(rng=seed))
    users, items = problem.shape
    everything = ItemList(item_ids=np.arange(items))
    scores = np.full((users, items), np.nan, dtype=np.float32)
    for user in np.unique(problem.users):
        scores[user] = model(int(user), everything).scores("numpy")
    return scores


def rate(problem: Problem, *, seed: int, **settings: Any) -> Array:
    return problem.of_pairs(scores_of(problem, seed, BiasedMFScorer(**settings)))


def rank(problem: Problem, *, seed: int, **settings: Any) -> Array:
    return scores_of(problem, seed, ImplicitMFScorer(**settings))
