"""Users' own numbers from their ratings: a step of Gauss-Newton on squared error plus a prior, several users
at once.

All ratings lie end to end, so that a step is one pass through the network for everybody; only the small
systems that a step solves are each user's own. A user's numbers depend on nobody else's but by rounding.
One step is enough: for held-out people of ML-100K a second moves rmse by 0.001 at most, and costs as much
again. It is as good as its straight line, so that only a long one is looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.models.hybrid_vae.numpy_layers import Matrix, Trace
from recsys.models.hybrid_vae.numpy_network import ItemEncoding, NumpyNetwork, UserEncoding
from recsys.types import BoolArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# A step is long that moves what is said of any of the user's ratings by so much of the scale's span. None of
# 738 steps of people of ML-100K made anything worse, 98% of them are shorter than this.
LONG_STEP = 0.5
STEP_SHARES = (1.0, 0.5, 0.25, 0.125)  # of a long one; where even the last does not help, the user stays
# A step that worsens the cost by less than this share of it is taken: the difference is rounding, and
# rounding must not decide.
ROUNDING = 1e-5
FEWEST = 8  # ratings that systems are padded to


@dataclass(frozen=True)
class UserRatings:
    """Of several users, end to end: ``counts`` (users,), each at least 1, then a row a rating."""

    counts: Rows
    items: ItemEncoding
    values: Array

    @property
    def starts(self) -> Rows:
        return np.cumsum(self.counts) - self.counts

    @property
    def owners(self) -> Rows:
        """(n,) which user each is of."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def of(self, chosen: BoolArray) -> UserRatings:
        """Those of some of the users."""
        rows = chosen[self.owners]
        return UserRatings(self.counts[chosen], self.items.at(rows), self.values[rows])


@dataclass(frozen=True)
class Residuals:
    """What users say of their ratings: the link, what it leaves over of each in stars (both (n,)), its sum of
    squares (users,), and the traces that derivatives need."""

    link: Matrix
    residuals: Array
    squares: Array
    traces: list[Trace]


def residuals_of(
    response: NumpyNetwork, users: UserEncoding, ratings: UserRatings, *, traced: bool
) -> Residuals:
    traces: list[Trace] = []
    rows = users.at(ratings.owners)
    link = response.link(rows, ratings.items, traces if traced else None)
    residuals = ratings.values - response.stars(rows, link)
    return Residuals(link, residuals, np.add.reduceat(np.square(residuals), ratings.starts), traces)


def fit(
    response: NumpyNetwork, users: UserEncoding, ratings: UserRatings, precision: Array, noise: float
) -> UserEncoding:
    """``users`` moved from where they are, the prior's mean, to where ``ratings`` pull them.

    ``precision`` (users, own) is the prior's, ``noise`` the variance of a rating, stars squared."""
    seen = residuals_of(response, users, ratings, traced=True)
    slopes = response.slopes(users.sharpness[ratings.owners], ratings.items, seen.link, seen.traces)
    moves = ridge_steps(slopes, seen.residuals, ratings.counts, precision, noise)
    changes = np.abs(np.vecdot(slopes, moves.astype(np.float32)[ratings.owners]))
    short = (
        np.maximum.reduceat(changes, ratings.starts) <= LONG_STEP * response.span
    )  # not where not a number
    if not short.all():
        long = np.flatnonzero(~short)
        some, long_ratings = users.at(long), ratings.of(~short)
        moves[long] *= _shares(response, some, long_ratings, moves[long], precision[long], noise)[:, None]
        moves[long] = np.where(np.isfinite(moves[long]), moves[long], 0)
    return response.state((users.own + moves).astype(np.float32), users.history, users.sharpness)


def _shares(
    response: NumpyNetwork,
    users: UserEncoding,
    ratings: UserRatings,
    moves: Array,
    precision: Array,
    noise: float,
) -> Array:
    """(users,) the largest of ``SHARES`` of each move that makes nothing worse; 0 where none does."""

    def costs(share: float) -> Array:
        moved = users.own if share == 0 else (users.own + share * moves).astype(np.float32)
        state = response.state(moved, users.history, users.sharpness)
        prior: Array = (precision * np.square(moved - users.own.astype(np.float64))).sum(axis=1)
        return residuals_of(response, state, ratings, traced=False).squares / noise + prior

    limit = costs(0.0) * (1 + ROUNDING)
    shares = np.zeros(len(moves))
    for share in STEP_SHARES:
        shares[(shares == 0) & (costs(share) <= limit)] = share
    return shares


def ridge_steps(slopes: Matrix, residuals: Array, counts: Rows, precision: Array, noise: float) -> Array:
    """(users, own): for each user the x of (S'S / noise + P) x = S'left / noise, where S (count, own) are
    their rows of ``slopes`` and P their diagonal ``precision``.

    Users are solved together with those of about as many ratings: padded with zeros, which change nothing."""
    starts = np.cumsum(counts) - counts
    slopes = np.concatenate([slopes, np.zeros((1, slopes.shape[1]), np.float32)])
    residuals = np.concatenate([residuals, np.zeros(1)])
    sizes = np.maximum(FEWEST, 1 << np.ceil(np.log2(counts)).astype(np.int64))
    steps = np.empty(precision.shape)
    for size in np.unique(sizes):
        users = np.flatnonzero(sizes == size)
        index = np.arange(size)
        rows = np.where(index < counts[users, None], starts[users, None] + index, len(slopes) - 1)
        steps[users] = _solved(
            slopes[rows].astype(np.float64), residuals[rows] / noise, precision[users], noise
        )
    return steps


def _solved(slopes: Array, residuals: Array, precision: Array, noise: float) -> Array:
    """``slopes`` (users, size, own), ``left`` (users, size). By the ratings (Woodbury) where they are fewer
    than the parameters, which they are for most new users."""
    size, width = slopes.shape[1:]
    turned = slopes.transpose(0, 2, 1)
    target = _times(turned, residuals)
    if size >= width:
        whole = turned @ slopes / noise
        whole[:, np.arange(width), np.arange(width)] += precision
        return _solve(whole, target)
    spread = slopes / precision[:, None]
    inner = spread @ turned
    inner[:, np.arange(size), np.arange(size)] += noise
    weights = _solve(inner, _times(spread, target))
    return target / precision - _times(spread.transpose(0, 2, 1), weights)


def _times(matrices: Array, vectors: Array) -> Array:
    """A product for each user."""
    product: Array = (matrices @ vectors[..., None])[..., 0]
    return product


def _solve(systems: Array, targets: Array) -> Array:
    solved = np.linalg.solve(systems, targets[..., None])
    return np.asarray(solved[..., 0], dtype=np.float64)
