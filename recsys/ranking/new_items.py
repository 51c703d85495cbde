"""Cold-start items: parameters of a ranker mapped from item features.

Attribute-to-latent mapping (Gantner et al. 2010, "Learning attribute-to-feature mappings for cold-start
recommendations", ICDM): a ridge regression from the features of rated items to a fitted ranker's parameters,
here all that are linear in the item (factors, columns of item-to-item weights, base scores). An item with n
ratings weighs n / (n + ``FEW``). The ridge is the one with the least leave-one-out error of the item vectors,
which has a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.ranking.ranker import Ranker
from recsys.ranking.sparse_links import BLOCK_CELLS, link_arrays
from recsys.ranking.taste_vectors import unit_rows
from recsys.types import Arrays, FloatArray, IntArray

FEW = 10.0  # ratings with which an item has half weight in the regression
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # in shares of the features' mean squared singular value
TRUST = 3.0  # ratings at which an item's fitted parameters have half weight
MIN_SHARE = 0.05  # of the mapped parameters; below it an item keeps its fitted ones
KEPT_LINKS = 200  # entries of a new item's column of sparse weights
TARGETS = 64  # columns of the vectors that select the ridge


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """A ridge regression on the features of items.

    Attributes:
        items: (n,) rows that it is fitted to.
        weighted: (n, columns) their features with a constant, times the item's weight.
        inverse: (columns, columns) of the regularised Gram matrix.
        ridge: Chosen share of the mean squared singular value.
        explained: Share of the item vectors' variance that it explains, leave-one-out.
    """

    items: NDArray[np.int64]
    weighted: NDArray[np.float64]
    inverse: NDArray[np.float64]
    ridge: float
    explained: float

    def coefficients(self, targets: FloatArray) -> NDArray[np.float64]:
        """(columns, k) coefficients for ``targets`` (n, k) of ``items``."""
        return np.asarray(self.inverse @ (self.weighted.T @ targets))


def fit_feature_map(features: FloatArray, counts: IntArray, vectors: FloatArray) -> FeatureMap:
    """Selects the ridge and inverts the system, for any targets.

    Args:
        features: (items, columns).
        counts: (items,) ratings; items without any are left out.
        vectors: (items, k) to be predicted from the features.

    Returns:
        The regression, of items with a rating.
    """
    rated = np.asarray(counts, dtype=np.float64)
    items = np.flatnonzero(rated > 0)
    inputs = with_constant(features)[items]
    weights = rated[items]
    weights = weights / (weights + FEW)
    targets = np.asarray(vectors, dtype=np.float64)[items][:, :TARGETS]
    root = np.sqrt(weights)[:, None]
    squares, rotation = np.linalg.eigh((root * inputs).T @ (root * inputs))
    squares = np.maximum(squares, 0)
    rotated = root * inputs @ rotation  # (n, columns), orthogonal
    right = rotated.T @ (root * targets)
    total = float(np.square(root * (targets - np.average(targets, axis=0, weights=weights))).sum())
    errors = {}
    for ridge in RIDGES:
        damped = 1 / (squares + ridge * squares.mean() + 1e-12)
        leverage = np.minimum(np.square(rotated) @ damped, 1 - 1e-6)
        residuals = (root * targets - rotated @ (damped[:, None] * right)) / (1 - leverage)[:, None]
        errors[ridge] = float(np.square(residuals).sum())
    best = min(errors, key=errors.__getitem__)
    inverse = (rotation / (squares + best * squares.mean() + 1e-12)) @ rotation.T
    explained = 1 - errors[best] / max(total, 1e-12)
    return FeatureMap(items, weights[:, None] * inputs, inverse, best, explained)


def with_constant(features: FloatArray) -> NDArray[np.float64]:
    """``features`` (items, columns) with a column of ones in front."""
    features = np.asarray(features, dtype=np.float64)
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def with_new_items(ranker: Ranker, *, features: FloatArray, counts: IntArray, vectors: FloatArray) -> Ranker:
    """Shrinks the parameters of items with no or few ratings towards those mapped from their features.

    With n ratings an item's fitted parameters weigh n / (n + ``TRUST``) and the mapped ones the rest: a new
    item is scored by its features alone, and less by them with every rating.

    Args:
        ranker: Fitted on the ratings of ``counts``.
        features: (items, columns).
        counts: (items,) ratings.
        vectors: (items, k) of the user-item matrix, which select the ridge.

    Returns:
        A ranker with the same arrays; ``ranker`` itself where nothing was rated.
    """
    rated = np.asarray(counts, dtype=np.float64)
    shares: NDArray[np.float64] = TRUST / (rated + TRUST)
    rows = np.flatnonzero(shares >= MIN_SHARE)
    if not len(rows) or not rated.any():
        return ranker
    feature_map = fit_feature_map(features, counts, vectors)
    inputs: NDArray[np.float64] = shares[rows, None] * with_constant(features)[rows]
    fitted = np.ones(len(shares), dtype=np.float32)
    fitted[rows] = 1 - shares[rows]

    def shrunk(parameters: FloatArray) -> NDArray[np.float32]:
        """``parameters`` (items, k) with ``rows`` shrunk towards the mapped ones."""
        result = np.array(parameters, dtype=np.float32)
        mapped = inputs @ feature_map.coefficients(result[feature_map.items])
        result[rows] = fitted[rows, None] * result[rows] + mapped.astype(np.float32)
        return result

    arrays: Arrays = dict(ranker.arrays)
    if ranker.has("factors"):
        arrays["factors"] = shrunk(ranker.arrays["factors"])
    if ranker.has("base"):
        arrays["base"] = shrunk(ranker.arrays["base"][:, None])[:, 0]
    if ranker.has("weights"):
        arrays["weights"] = np.ascontiguousarray(shrunk(ranker.arrays["weights"].T).T)
    if ranker.has("links_ends"):
        # A mapped column is a combination of those of (links @ weighted features), (items, columns).
        weighted = np.asarray(ranker.links[:, feature_map.items] @ feature_map.weighted)
        combined = weighted @ feature_map.inverse
        arrays |= link_arrays(_with_columns(ranker.links @ sp.diags(fitted), rows, combined, inputs))
    return Ranker(ranker.family, ranker.settings, arrays)


def vectors_with_new_items(
    vectors: NDArray[np.float32], *, features: FloatArray, counts: IntArray
) -> NDArray[np.float32]:
    """Maps the vectors of items without a rating from their features.

    Args:
        vectors: (items, k) of unit length.
        features: (items, columns).
        counts: (items,) ratings.

    Returns:
        (items, k) of unit length.
    """
    new = np.flatnonzero(np.asarray(counts, dtype=np.int64) == 0)
    if len(new) in (0, len(vectors)):
        return vectors
    feature_map = fit_feature_map(features, counts, vectors)
    coefficients = feature_map.coefficients(vectors[feature_map.items])
    mapped = np.array(vectors)
    mapped[new] = unit_rows(with_constant(features)[new] @ coefficients)
    return mapped


def _with_columns(
    links: sp.csr_matrix, rows: NDArray[np.int64], combined: FloatArray, inputs: FloatArray
) -> sp.csr_matrix:
    """``links`` plus, in the columns ``rows``, the largest entries of combined @ inputs.T."""
    items = links.shape[0]
    step = max(1, BLOCK_CELLS // items)
    blocks = []
    for first in range(0, len(rows), step):
        block = (combined @ inputs[first : first + step].T).astype(np.float32)
        if items > KEPT_LINKS:
            size = np.abs(block)
            block[size < np.partition(size, items - KEPT_LINKS, axis=0)[items - KEPT_LINKS]] = 0
        blocks.append(sp.csc_matrix(block))
    selector = sp.csr_matrix((np.ones(len(rows)), (np.arange(len(rows)), rows)), shape=(len(rows), items))
    total = (links + sp.hstack(blocks, format="csr") @ selector).tocsr().astype(np.float32)
    total.eliminate_zeros()
    total.sort_indices()
    return total
