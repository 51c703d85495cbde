"""The Gibbs sampler row by row in numpy and double precision: the independent reference of the batched one.

Kept plain and slow: one small product a row, ratings in the order of the data, PCG64 streams.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.data.split import TrainingData
from recsys.models.bayes_mf.basis import Array, Basis, feature_basis, history_basis
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.observation import rating_levels
from recsys.seeds import derive_seed
from tests.recsys.models.reference_cutpoints import ReferenceCutpoints

STRENGTH_RATE = 0.1


def grams(
    design: NDArray[np.float32],
    columns: NDArray[np.int64],
    roots: NDArray[np.float32],
    target: NDArray[np.float32],
    starts: NDArray[np.int64],
) -> tuple[Array, Array]:
    """(rows, width, width) sums of w x x' and (rows, width) sums of w x y, over each row's ratings.

    ``design`` (others, width) are the x, by ``columns`` (n,); ``roots`` (n,) of the weights w; ``target``
    (n,) is y times that root; ratings lie sorted by row, row r from ``starts[r]`` to ``starts[r + 1]``.
    """
    width = design.shape[1]
    gram = np.zeros((len(starts) - 1, width, width))
    pull = np.zeros((len(starts) - 1, width))
    x = design[columns] * roots[:, None]
    for row, (low, high) in enumerate(itertools.pairwise(starts.tolist())):
        own = x[low:high]
        gram[row] = own.T @ own
        pull[row] = own.T @ target[low:high]
    return gram, pull


def draw(precision: Array, right: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Mean, and one draw, of each Normal with ``precision`` and mean inverse(precision) ``right``."""
    root = np.linalg.cholesky(precision)
    mean: Array = np.asarray(np.linalg.solve(precision, right[:, :, None])[:, :, 0], dtype=np.float64)
    noise = random.standard_normal((*right.shape, 1))
    deviation: Array = np.asarray(np.linalg.solve(root.transpose(0, 2, 1), noise)[:, :, 0], dtype=np.float64)
    return mean, mean + deviation


def row_precisions(
    squared: Array, rows: NDArray[Any], counts: Array, prior: float, random: np.random.Generator
) -> Array:
    """Noise precision of each row, Gamma with ``prior`` ratings of weight behind 1, geometric mean 1.

    ``squared`` (n,) noise squared, already in units of everything else's precision.
    """
    total = np.bincount(rows, squared, minlength=len(counts))
    drawn: Array = random.gamma(0.5 * (prior + counts)) / (0.5 * (prior + total))
    # Only the product with the other side's and the overall precision is identified.
    drawn /= np.exp(np.log(drawn).mean())
    return drawn


class ReferencePrior:
    """``mean`` (rows, width) and ``precision`` (width, width) of one side, resampled by ``sweep``."""

    def __init__(self, rows: int, width: int, bases: Sequence[Basis]) -> None:
        self.bases = tuple(bases)
        self.centre: Array = np.zeros(width)
        self.precision: Array = 4.0 * np.eye(width)
        self.maps: list[Array] = [np.zeros((len(basis.values), width)) for basis in bases]
        self.strengths: Array = np.ones(len(bases))
        self.mean: Array = np.zeros((rows, width))

    def sweep(self, vectors: Array, random: np.random.Generator) -> None:
        """New strengths, maps, centre and precision, given the side's vectors (rows, width)."""
        rows, width = vectors.shape
        # noise @ whiten has covariance inverse(precision).
        whiten = np.linalg.inv(np.linalg.cholesky(self.precision))
        parts = [self._part(number) for number in range(len(self.bases))]
        scatter = np.eye(width)
        freedom = width + rows + 1
        for number, basis in enumerate(self.bases):
            others = sum((part for at, part in enumerate(parts) if at != number), self.centre)
            along = basis.left.T @ (vectors - others)
            weight = np.square(basis.values) + self.strengths[number]
            noise = random.standard_normal(along.shape) @ whiten
            drawn = (basis.values / weight)[:, None] * along + noise / np.sqrt(weight)[:, None]
            self.maps[number] = drawn
            size = float(np.sum((drawn @ self.precision) * drawn))
            self.strengths[number] = random.gamma(1 + 0.5 * drawn.size, 1 / (STRENGTH_RATE + 0.5 * size))
            parts[number] = self._part(number)
            scatter += self.strengths[number] * (drawn.T @ drawn)
            freedom += len(drawn)
        linear = sum(parts, np.zeros_like(vectors))
        left = vectors - linear
        spread = random.standard_normal(width) @ whiten / np.sqrt(rows + 1)
        self.centre = left.sum(axis=0) / (rows + 1) + spread
        left -= self.centre
        scatter += left.T @ left + np.outer(self.centre, self.centre)
        self.precision = _wishart(freedom, scatter, random)
        self.mean = linear + self.centre

    def _part(self, number: int) -> Array:
        basis = self.bases[number]
        part: Array = basis.left @ (basis.values[:, None] * self.maps[number])
        return part


def _wishart(freedom: int, scatter: Array, random: np.random.Generator) -> Array:
    """A draw of Wishart(freedom, inverse(scatter)), by Bartlett's decomposition."""
    width = len(scatter)
    root = np.linalg.cholesky(np.linalg.inv((scatter + scatter.T) / 2))
    lower = np.tril(random.standard_normal((width, width)), -1)
    lower[np.diag_indices(width)] = np.sqrt(random.chisquare(freedom - np.arange(width)))
    factor = root @ lower
    drawn: Array = factor @ factor.T
    return drawn


@dataclass
class ReferenceSide:
    """Users, or items. ``order`` sorts the ratings by this side's row; ``starts`` are its CSR pointers."""

    prior: ReferencePrior
    vectors: Array
    mean: Array  # conditional mean of ``vectors``, given the other side's
    precisions: Array  # of the noise, one a row
    counts: Array
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]  # the other side's row of each rating


class ReferenceSampler:
    """The chain. ``score`` (n,) are the training ratings' latent scores with the vectors as they are."""

    def __init__(self, config: BayesMfConfig, data: TrainingData, *, seed: int) -> None:
        train = data.train
        self.config = config
        self.random = np.random.default_rng(derive_seed(seed, "gibbs"))
        users, items = train.users.astype(np.int64), train.items.astype(np.int64)
        self.values = train.values.astype(np.float64)
        self.levels = rating_levels(train.values, config.output)
        self.centre = 0.0
        self.cutpoints: ReferenceCutpoints | None = None
        self.precision = 1.0
        if len(self.levels):
            self.cutpoints = ReferenceCutpoints(np.searchsorted(self.levels, self.values), len(self.levels))
        else:
            self.centre = float(self.values.mean())
            self.precision = 1.0 / max(float(self.values.var()), 1e-6)
        shape = (train.user_count, train.item_count)
        self.users = self._side(users, items, shape, config.user_history, data.user_features, seed)
        self.items = self._side(items, users, shape[::-1], config.item_history, data.item_features, seed)
        self.score: Array = np.full(len(train), self.centre)

    def _side(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        shape: tuple[int, int],
        history: bool,
        features: NDArray[np.float32] | None,
        seed: int,
    ) -> ReferenceSide:
        counts = np.bincount(rows, minlength=shape[0])
        bases: list[Basis | None] = []
        if history:
            rank = self.config.history_rank
            bases.append(history_basis(rows, columns, shape, rank=rank, seed=derive_seed(seed, "basis")))
        if self.config.side_features and features is not None:
            bases.append(feature_basis(features, counts > 0))
        width = self.config.factors + 1
        order = np.argsort(rows, kind="stable")
        vectors = 0.1 * self.random.standard_normal((shape[0], width))
        return ReferenceSide(
            prior=ReferencePrior(shape[0], width, [basis for basis in bases if basis is not None]),
            vectors=vectors,
            mean=vectors.copy(),
            precisions=np.ones(shape[0]),
            counts=counts.astype(np.float64),
            order=order,
            starts=np.concatenate([[0], np.cumsum(counts)]),
            rows=rows,
            columns=columns[order],
        )

    def sweep(self) -> None:
        """Every block once: noise and cutpoints, then users, then items."""
        noise = self._draw_noise()
        target = self.score + noise
        weights = self.precision * self.users.precisions[self.users.rows]
        weights *= self.items.precisions[self.items.rows]
        for side, other in ((self.users, self.items), (self.items, self.users)):
            side.prior.sweep(side.vectors, self.random)
            self._draw(side, other, target - self.centre, weights)
        self.score = self._scores()

    def _draw_noise(self) -> Array:
        """Noise of every rating; also resamples cutpoints and precisions."""
        users, items, config = self.users, self.items, self.config
        precision = users.precisions[users.rows] * items.precisions[items.rows]
        if self.cutpoints is not None:
            scale = np.sqrt(precision)
            self.cutpoints.sweep(self.score, scale, self.random)
            noise = self.cutpoints.noise(self.score, scale, self.random)
        else:
            noise = self.values - self.score
            shape = 1 + 0.5 * len(noise)
            rate = 1 + 0.5 * float(np.sum(np.square(noise) * precision))
            self.precision = self.random.gamma(shape, 1 / rate)
        squared = self.precision * np.square(noise)
        for side, other, prior in ((users, items, config.user_noise), (items, users, config.item_noise)):
            if prior > 0:
                weighted = squared * other.precisions[other.rows]
                side.precisions = row_precisions(weighted, side.rows, side.counts, prior, self.random)
        return noise

    def _draw(self, side: ReferenceSide, other: ReferenceSide, target: Array, weights: Array) -> None:
        """New vectors of ``side``, all rows, given the other side's."""
        k = self.config.factors
        design = other.vectors.astype(np.float32)
        design[:, k] = 1
        root = np.sqrt(weights[side.order])
        left = root * (target[side.order] - other.vectors[side.columns, k])
        prior = side.prior
        pull = prior.mean @ prior.precision
        for first in range(0, len(side.counts), 1024):
            last = min(first + 1024, len(side.counts))
            low, high = side.starts[first], side.starts[last]
            precision, sums = grams(
                design,
                side.columns[low:high],
                root[low:high].astype(np.float32),
                left[low:high].astype(np.float32),
                side.starts[first : last + 1] - low,
            )
            precision += prior.precision
            rows = slice(first, last)
            side.mean[rows], side.vectors[rows] = draw(precision, sums + pull[rows], self.random)

    def _scores(self) -> Array:
        k = self.config.factors
        scores: Array = np.full(len(self.values), self.centre)
        for start in range(0, len(scores), 4096):
            rows = slice(start, start + 4096)
            user = self.users.vectors[self.users.rows[rows]]
            item = self.items.vectors[self.items.rows[rows]]
            scores[rows] += np.einsum("nk,nk->n", user[:, :k], item[:, :k]) + user[:, k] + item[:, k]
        return scores
