"""cornac: biased matrix factorisation for stars; BiVAE, RecVAE and EASE for lists."""

from __future__ import annotations

from typing import Any

import cornac  # type: ignore[import-not-found]
import numpy as np

from tests.benchmarks.peers.problem import Array, Problem

DISTRIBUTION = "cornac"
SILENT = {"MF": {"early_stop": False}, "BiVAECF": {"use_gpu": False}, "RecVAE": {"use_gpu": False}}


def scores_of(problem: Problem, seed: int, model: str, binary: bool, settings: dict[str, Any]) -> Array:
    """(users, items) float32, NaN for rows without a rating to learn from."""
    values = np.ones(len(problem.values)) if binary else problem.values
    triples = zip(problem.users.tolist(), problem.items.tolist(), values.tolist(), strict=True)
    known = cornac.data.Dataset.from_uir(list(triples), seed=seed)
    fitted = getattr(cornac.models, model)(verbose=False, seed=seed, **SILENT.get(model, {}), **settings)
    fitted.fit(known)
    scores = np.full(problem.shape, np.nan, dtype=np.float32)
    items = np.array(list(known.iid_map), dtype=np.int64)  # in the order of cornac's own numbers
    for user, number in known.uid_map.items():
        scores[user, items] = np.asarray(fitted.score(number)).ravel()[: len(items)]
    return scores


def rate(problem: Problem, *, seed: int, model: str, **settings: Any) -> Array:
    return problem.of_pairs(scores_of(problem, seed, model, False, settings))


def rank(problem: Problem, *, seed: int, model: str, binary: bool = True, **settings: Any) -> Array:
    return scores_of(problem, seed, model, binary, settings)
