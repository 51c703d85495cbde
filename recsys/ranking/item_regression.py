"""Linear item-item regression in closed form: EASE, and EDLAE with pairs weighted by time.

EASE (Steck 2019) solves min |X - X B|^2 + ridge |B|^2 with a zero diagonal by one inverse of the item Gram
matrix; EDLAE (Steck 2020, "Autoencoders that don't overfit towards the identity") adds a ridge that grows
with an item's popularity, p / (1 - p) for dropout p. Our changes: a user weighs n^-``user_damping`` in the
Gram matrix (+2% NDCG on ML-100K validation); ``closeness`` is the share of a pair's weight that decays with
the time between the two ratings, exp(-dt / ``minutes``) (+1% on a random split, nothing on users' newest
ratings); ``features`` adds items' shared features to the Gram matrix as pseudo-users (+0.5% on ML-1M).

Up to ``DENSE_ITEMS`` items the weights are the full matrix. Beyond, the ``DENSE_ITEMS`` most rated items
are regressed on each other exactly, and each keeps its largest weights (the sparsity of SANSA, Spišák et
al. 2023); every other item is regressed on the ``TAIL_LINKS`` of them that it is most correlated with. The
catalogue is not limited, and no dense (items, items) product is made.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat

from recsys.models.family_config import Share, family_config
from recsys.models.ranges import FloatRange, Range
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import typical_length
from recsys.ranking.sparse_links import link_arrays, strongest_links
from recsys.types import FloatArray

DENSE_ITEMS = 8_000  # 256 MB a matrix, and about half a minute of Cholesky on one core
KEPT_LINKS = 150  # weights kept of an item beyond that
TAIL_LINKS = 50  # regressors of an item that is not among the DENSE_ITEMS
TAIL_BLOCK = 1_000  # of such items in a batch: 10 MB of systems
CHUNK = 512  # consecutive ratings of a user between which closeness is counted
MAX_CLOSE_PAIRS = 400_000_000  # with more pairs, users are sampled for the closeness


@family_config("ease")
class EaseTrialConfig:
    """Hyperparameters of EASE."""

    ridge: PositiveFloat = 200.0  # ratings
    user_damping: NonNegativeFloat = 0.5  # 0: every user weighs the same
    dropout: Share = 0.7  # 0: plain EASE


@family_config("edlae")
class EdlaeConfig(EaseTrialConfig):
    """Hyperparameters of EDLAE with closeness in time and features."""

    ridge: PositiveFloat = 100.0
    closeness: Share = 0.7  # share of a pair's weight that decays with time between the ratings
    minutes: PositiveFloat = 5.0  # e-folding time of that decay
    features: NonNegativeFloat = 0.0  # weight of a shared feature in the Gram matrix; 0: none


EASE_RANGES: dict[str, Range] = {
    "ridge": FloatRange(20.0, 1000.0, log=True),
    "user_damping": FloatRange(0.2, 0.8),
    "dropout": FloatRange(0.2, 0.85),
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
    """Fits EASE or EDLAE, on a GPU where torch sees one; imports torch, which serving does not need.

    Args:
        data: Ratings, with times for ``closeness`` and item features for ``features``.
        config: An EaseTrialConfig or EdlaeConfig.
        seed: Unused: the fit is deterministic.
        dense_items: Regressors at most; with more items the weights are sparse.

    Returns:
        A ranker of dense or sparse item-to-item weights.
    """
    from recsys.models.optim.device import pick_device
    from recsys.ranking.item_gram import item_gram, symmetric_inverse

    device, items = pick_device(), data.ratings.item_count
    counts = np.bincount(data.ratings.items, minlength=items)
    head = np.sort(np.argsort(-counts, kind="stable")[:dense_items])
    user_weights = _user_weights(data, config)
    regressors = data.seen[:, head].tocsr()
    gram = item_gram(regressors, user_weights, device)
    if isinstance(config, EdlaeConfig):
        _add_closeness(gram, data, config, head)
        _add_features(gram, data, config, head)
    diagonal = gram.diagonal().copy()
    gram[np.diag_indices_from(gram)] += config.dropout / (1 - config.dropout) * diagonal + config.ridge
    inverse = np.asarray(symmetric_inverse(gram, device), dtype=np.float32)
    family = "edlae" if isinstance(config, EdlaeConfig) else "ease"
    arrays = (
        {"weights": _zero_diagonal_weights(inverse)}
        if len(head) == items
        else link_arrays(
            _sparse_weights(
                gram, inverse, regressors, (sp.diags(user_weights) @ data.seen).tocsc(), head, items
            )
        )
    )
    return Ranker(family, {"config": asdict(config)}, arrays)


def _user_weights(data: ListData, config: EaseTrialConfig) -> NDArray[np.float32]:
    lengths = np.diff(data.seen.indptr)
    relative = np.maximum(lengths, 1) / typical_length(lengths)
    return np.asarray(relative**-config.user_damping, dtype=np.float32)


def _zero_diagonal_weights(inverse: FloatArray) -> NDArray[np.float32]:
    weights = inverse / -inverse.diagonal()
    np.fill_diagonal(weights, 0)
    return np.asarray(weights, dtype=np.float32)


def _sparse_weights(
    gram: NDArray[np.float32],
    inverse: NDArray[np.float32],
    regressors: sp.csr_matrix,
    weighted: sp.csc_matrix,
    head: NDArray[np.int64],
    items: int,
) -> sp.csr_matrix:
    """(items, items): EASE's largest weights among the ``head``, and every other item's on the head items
    that it is most correlated with (Steck 2019, "Markov random fields for collaborative filtering", 3.2)."""
    head_links = strongest_links(
        len(head),
        lambda columns: sp.csr_matrix((inverse[:, columns] / -inverse.diagonal()[columns]).T),
        kept=KEPT_LINKS,
    ).tocoo()
    tail = np.setdiff1d(np.arange(items), head)
    rows, columns, values = [head[head_links.row]], [head[head_links.col]], [head_links.data]
    scale = np.sqrt(np.maximum(gram.diagonal(), 1e-12))
    for first in range(0, len(tail), TAIL_BLOCK):
        targets = tail[first : first + TAIL_BLOCK]
        cooccurrence = (weighted[:, targets].T @ regressors).tocsr()
        chosen, right = _most_correlated(cooccurrence, scale)
        weights = _ridge_weights(gram, chosen, right)
        used = np.nonzero(chosen >= 0)
        rows.append(head[chosen[used]])
        columns.append(targets[used[0]])
        values.append(weights[used])
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    links = sp.csr_matrix(entries, shape=(items, items), dtype=np.float32)
    links.sort_indices()
    return links


def _most_correlated(
    cooccurrence: sp.csr_matrix, scale: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(targets, TAIL_LINKS) head items of each target, -1 where there are fewer, and their co-occurrence."""
    chosen = np.full((cooccurrence.shape[0], TAIL_LINKS), -1, dtype=np.int64)
    right = np.zeros((cooccurrence.shape[0], TAIL_LINKS), dtype=np.float32)
    for row in range(cooccurrence.shape[0]):
        entries = slice(cooccurrence.indptr[row], cooccurrence.indptr[row + 1])
        index, value = cooccurrence.indices[entries], cooccurrence.data[entries]
        if len(index) > TAIL_LINKS:
            best = np.argpartition(-value / scale[index], TAIL_LINKS - 1)[:TAIL_LINKS]
            index, value = index[best], value[best]
        chosen[row, : len(index)] = index
        right[row, : len(index)] = value
    return chosen, right


def _ridge_weights(
    gram: NDArray[np.float32], chosen: NDArray[np.int64], right: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(targets, TAIL_LINKS): each target's ridge regression on its ``chosen`` items."""
    inside = chosen >= 0
    systems = gram[chosen[:, :, None], chosen[:, None, :]]
    systems *= inside[:, :, None] & inside[:, None, :]
    diagonal = np.arange(chosen.shape[1])
    systems[:, diagonal, diagonal] += ~inside
    return np.asarray(np.linalg.solve(systems, right[:, :, None])[:, :, 0], dtype=np.float32)


def _add_closeness(
    gram: NDArray[np.float32], data: ListData, config: EdlaeConfig, head: NDArray[np.int64]
) -> None:
    """Changes each pair's weight w to w (1 - closeness + closeness exp(-dt / minutes)), in place."""
    ratings = data.ratings
    if config.closeness <= 0 or ratings.times is None or not data.has_times:
        return
    position = np.full(ratings.item_count, -1, dtype=np.int64)
    position[head] = np.arange(len(head))
    order = np.lexsort((ratings.times, ratings.users))
    order = order[position[ratings.items[order]] >= 0]
    users, columns = ratings.users[order], position[ratings.items[order]]
    times = ratings.times[order] / (60.0 * config.minutes)
    weights = _user_weights(data, config)
    bounds = np.searchsorted(users, np.arange(ratings.user_count + 1))
    lengths = np.diff(bounds).astype(np.float64)
    pairs = float((lengths * np.minimum(lengths, CHUNK)).sum())
    step = max(1, int(np.ceil(pairs / MAX_CLOSE_PAIRS)))
    close = np.zeros_like(gram)
    for user in range(0, ratings.user_count, step):
        for first in range(bounds[user], bounds[user + 1], CHUNK):
            rows = slice(first, min(first + CHUNK, bounds[user + 1]))
            gaps = np.abs(times[rows, None] - times[None, rows])
            decayed = np.exp(-gaps, dtype=np.float32) * (weights[user] * step)
            close[np.ix_(columns[rows], columns[rows])] += decayed
    diagonal = gram.diagonal().copy()
    gram *= 1 - config.closeness
    gram += np.float32(config.closeness) * close
    gram[np.diag_indices_from(gram)] = diagonal  # a rating has no distance to itself


def _add_features(
    gram: NDArray[np.float32], data: ListData, config: EdlaeConfig, head: NDArray[np.int64]
) -> None:
    if config.features > 0 and data.item_features is not None:
        features = np.asarray(data.item_features, dtype=np.float32)[head]
        gram += np.float32(config.features) * (features @ features.T)
