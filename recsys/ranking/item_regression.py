"""Every item regressed on all others in closed form: EASE, and EDLAE with pairs weighted by time.

EASE (Steck 2019) solves min |X - X B|^2 + ridge |B|^2 with a zero diagonal by one inverse of the item Gram
matrix; EDLAE (Steck 2020, "Autoencoders that don't overfit towards the identity") adds a ridge that grows
with an item's popularity, p / (1 - p) for dropout p. Ours: a user counts n^-``user_damping`` in the Gram
matrix (+2% NDCG on ML-100K validation); ``closeness`` is the share of a pair's weight that decays with the
time between the two ratings, exp(-dt / ``minutes``) (+1% on a random split, nothing on people's newest
ratings); ``features`` adds items' shared features to the Gram matrix as pseudo-users (+0.5% on ML-1M).

Up to ``DENSE_ITEMS`` items the weights are the whole matrix. Beyond, the ``DENSE_ITEMS`` most rated items
are the regressors of every item, solved exactly among themselves and by ridge regression for the rest, and
each item keeps its strongest weights (the sparsity of SANSA, Spišák et al. 2023): no cap on the catalogue.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.models.ranges import FloatRange, Range
from recsys.ranking.ease import symmetric_inverse
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker
from recsys.ranking.sparse_links import link_arrays, strongest_links
from recsys.types import Arrays, FloatArray

DENSE_ITEMS = 8_000  # 256 MB a matrix, and about half a minute of Cholesky on one core
KEPT_LINKS = 150  # weights kept of an item beyond that
CHUNK = 512  # newest-to-oldest ratings of a user whose closeness is counted together
MAX_CLOSE_PAIRS = 400_000_000  # more users than that are sampled for the closeness


@dataclass(frozen=True)
class EaseTrialConfig:
    """Fields of EASE."""

    ridge: float = 200.0  # ratings
    user_damping: float = 0.5  # 0: every user counts the same
    dropout: float = 0.7  # 0: plain EASE


@dataclass(frozen=True)
class EdlaeConfig(EaseTrialConfig):
    """Fields of EDLAE with closeness in time and features."""

    ridge: float = 100.0
    closeness: float = 0.7  # share of a pair's weight that decays with time between the ratings
    minutes: float = 5.0  # e-folding time of that decay
    features: float = 0.0  # weight of a shared feature in the Gram matrix; 0: none


EASE_RANGES: dict[str, Range] = {
    "ridge": FloatRange(20.0, 2000.0, log=True),
    "user_damping": FloatRange(0.0, 0.9),
    "dropout": FloatRange(0.0, 0.9),
}
EDLAE_RANGES: dict[str, Range] = {
    **EASE_RANGES,
    "closeness": FloatRange(0.0, 0.9),
    "minutes": FloatRange(1.0, 60.0, log=True),
    "features": FloatRange(0.0, 20.0),
}


def fit_item_regression(
    data: ListData, config: EaseTrialConfig, *, seed: int, dense_items: int = DENSE_ITEMS
) -> Ranker:
    """Fits EASE or EDLAE.

    Args:
        data: Who rated what, with times for a closeness and item features for ``features``.
        config: An EaseConfig or EdlaeConfig.
        seed: Not used: the fit draws nothing.
        dense_items: Regressors at most; with more items the weights are sparse.

    Returns:
        A ranker of dense or sparse item-to-item weights.
    """
    items = data.ratings.item_count
    counts = np.bincount(data.ratings.items, minlength=items)
    head = np.sort(np.argsort(-counts, kind="stable")[:dense_items])
    weighted = sp.diags(_user_weights(data, config)) @ data.seen
    regressors = data.seen[:, head].tocsr()
    gram = (regressors.T @ weighted[:, head]).toarray().astype(np.float32)
    if isinstance(config, EdlaeConfig):
        _add_closeness(gram, data, config, head)
        _add_features(gram, data, config, head)
    diagonal = gram.diagonal().copy()
    gram[np.diag_indices_from(gram)] += config.dropout / (1 - config.dropout) * diagonal + config.ridge
    inverse = np.asarray(symmetric_inverse(gram), dtype=np.float32)
    del gram
    family = "edlae" if isinstance(config, EdlaeConfig) else "ease"
    arrays = (
        {"weights": _zero_diagonal_weights(inverse)}
        if len(head) == items
        else _sparse_weights(inverse, regressors, weighted.tocsc(), head, items)
    )
    return Ranker(family, {"config": asdict(config)}, arrays)


def _user_weights(data: ListData, config: EaseTrialConfig) -> NDArray[np.float32]:
    lengths = np.diff(data.seen.indptr)
    relative = np.maximum(lengths, 1) / max(float(lengths.mean()), 1e-9)
    return np.asarray(relative**-config.user_damping, dtype=np.float32)


def _zero_diagonal_weights(inverse: FloatArray) -> NDArray[np.float32]:
    weights = inverse / -inverse.diagonal()
    np.fill_diagonal(weights, 0)
    return np.asarray(weights, dtype=np.float32)


def _sparse_weights(
    inverse: NDArray[np.float32],
    regressors: sp.csr_matrix,
    weighted: sp.csc_matrix,
    head: NDArray[np.int64],
    items: int,
) -> Arrays:
    """The strongest weights of every item on the ``head`` items: EASE's among these, ridge for the rest."""
    transposed = regressors.T.tocsr()
    position = np.full(items, -1, dtype=np.int64)
    position[head] = np.arange(len(head))

    def block_of(columns: slice) -> FloatArray:
        wanted = np.arange(columns.start, columns.stop)
        inside = position[wanted]
        block = np.zeros((items, len(wanted)), dtype=np.float32)
        tail = np.flatnonzero(inside < 0)
        if len(tail):
            right = (transposed @ weighted[:, wanted[tail]]).toarray().astype(np.float32)
            block[np.ix_(head, tail)] = inverse @ right
        own = np.flatnonzero(inside >= 0)
        if len(own):
            columns_of = inverse[:, inside[own]]
            block[np.ix_(head, own)] = columns_of / -inverse.diagonal()[inside[own]]
        return block

    return link_arrays(strongest_links(items, block_of, kept=KEPT_LINKS))


def _add_closeness(
    gram: NDArray[np.float32], data: ListData, config: EdlaeConfig, head: NDArray[np.int64]
) -> None:
    """Turns each pair's weight w into w (1 - closeness + closeness exp(-dt / minutes)), in place."""
    ratings = data.ratings
    if config.closeness <= 0 or ratings.times is None or not data.has_times:
        return
    position = np.full(ratings.item_count, -1, dtype=np.int64)
    position[head] = np.arange(len(head))
    order = np.lexsort((ratings.times, ratings.users))
    order = order[position[ratings.items[order]] >= 0]
    users, places = ratings.users[order], position[ratings.items[order]]
    moments = ratings.times[order] / (60.0 * config.minutes)
    weights = _user_weights(data, config)
    bounds = np.searchsorted(users, np.arange(ratings.user_count + 1))
    lengths = np.diff(bounds).astype(np.float64)
    pairs = float((lengths * np.minimum(lengths, CHUNK)).sum())
    step = max(1, int(np.ceil(pairs / MAX_CLOSE_PAIRS)))
    close = np.zeros_like(gram)
    for user in range(0, ratings.user_count, step):
        for first in range(bounds[user], bounds[user + 1], CHUNK):
            rows = slice(first, min(first + CHUNK, bounds[user + 1]))
            apart = np.abs(moments[rows, None] - moments[None, rows])
            decayed = np.exp(-apart, dtype=np.float32) * (weights[user] * step)
            close[np.ix_(places[rows], places[rows])] += decayed
    diagonal = gram.diagonal().copy()
    gram *= 1 - config.closeness
    gram += np.float32(config.closeness) * close
    gram[np.diag_indices_from(gram)] = diagonal  # a rating is as close to itself as can be


def _add_features(
    gram: NDArray[np.float32], data: ListData, config: EdlaeConfig, head: NDArray[np.int64]
) -> None:
    if config.features > 0 and data.item_features is not None:
        features = np.asarray(data.item_features, dtype=np.float32)[head]
        gram += np.float32(config.features) * (features @ features.T)
