"""Surprise: SVD, SVD++ (stochastic gradient descent in Cython) and item neighbourhoods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import surprise  # type: ignore[import-not-found]

from tests.benchmarks.peers.problem import Array, Problem

DISTRIBUTION = "scikit-surprise"


def rate(problem: Problem, *, seed: int, model: str, **settings: Any) -> Array:
    low, high = problem.scale.tolist()
    frame = pd.DataFrame({"user": problem.users, "item": problem.items, "stars": problem.values})
    reader = surprise.Reader(rating_scale=(low, high))
    whole = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
    if model == "KNNBaseline":
        similarity = {"name": "pearson_baseline", "user_based": False}
        fitted = surprise.KNNBaseline(sim_options=similarity, verbose=False, bsl_options={}, **settings)
    else:
        fitted = getattr(surprise, model)(random_state=seed, **settings)
    fitted.fit(whole)
    pairs = zip(problem.pair_users.tolist(), problem.pair_items.tolist(), strict=True)
    return np.array([fitted.predict(user, item).est for user, item in pairs])
