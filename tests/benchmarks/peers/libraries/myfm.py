"""myFM: Bayesian factorisation machines by Gibbs sampling, stars as they are or as ordered levels.

Features as in its author's MovieLens example: ids, who rated what by either side (each row divided by the
root of its length), and side information, as two blocks that ratings share.
"""

from __future__ import annotations

import myfm
import numpy as np
import scipy.sparse as sparse

from tests.benchmarks.peers.problem import Array, Problem

DISTRIBUTION = "myfm"


def parts_of(rated: sparse.csr_matrix, features: Array, *, histories: bool, side: bool) -> list[Array]:
    """One side's kinds of feature, each (rows, columns)."""
    parts = [sparse.identity(rated.shape[0], format="csr")]
    if histories:
        lengths = np.maximum(np.asarray(rated.sum(axis=1)).ravel(), 1)
        parts.append(sparse.diags(lengths**-0.5) @ rated)
    if side and features.shape[1]:
        parts.append(sparse.csr_matrix(features.astype(np.float64)))
    return parts


def rate(
    problem: Problem, *, seed: int, rank: int, iterations: int, probit: bool, histories: bool, side: bool
) -> Array:
    rated = problem.rated(binary=True)
    kinds = [
        parts_of(rated, problem.user_features, histories=histories, side=side),
        parts_of(rated.T.tocsr(), problem.item_features, histories=histories, side=side),
    ]
    blocks = [sparse.hstack(parts).tocsr() for parts in kinds]

    def relations(users: Array, items: Array) -> list[myfm.RelationBlock]:
        result = []
        for rows, block in zip((users, items), blocks, strict=True):
            unique, positions = np.unique(rows, return_inverse=True)
            result.append(myfm.RelationBlock(positions, block[unique]))
        return result

    levels = np.unique(problem.values).astype(np.float64)
    target = np.searchsorted(levels, problem.values) if probit else problem.values.astype(np.float64)
    model = (myfm.MyFMOrderedProbit if probit else myfm.MyFMRegressor)(rank=rank, random_seed=seed)
    model.fit(
        None,
        target,
        X_rel=relations(problem.users, problem.items),
        n_iter=iterations,
        n_kept_samples=iterations * 4 // 5,
        group_shapes=[part.shape[1] for parts in kinds for part in parts],
    )
    asked = relations(problem.pair_users, problem.pair_items)
    stars: Array = (
        model.predict_proba(None, X_rel=asked) @ levels if probit else model.predict(None, X_rel=asked)
    )
    return stars
