"""A made-up world of tastes, whose every expected rating is known exactly.

An opinion is mean + user bias + item bias (ageing) + affinity + noise; a rating is the opinion rounded to
half stars and cut to 0.5 .. 5. Users belong to archetypes whose tastes turn with the years, items to
genres, each with something of their own. Affinity is part dot product, part a small random network of both
sides' vectors, which no low-rank product holds: the dial between them is ``nonlinear``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from recsys.data.ratings import RatingScale
from recsys.types import FloatArray, IntArray

FACTORS = 4  # of taste: what can be learned of a user from some hundred ratings is few numbers
HIDDEN = 16
SAMPLE = 300  # users and items, to measure spreads on
ARCHETYPES = 24
OWN_SHARE = 0.15  # of a user's taste variance that no archetype explains; for items and genres alike
GENRE_NAMES = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller"),
)
MEAN, USER_SPREAD, ITEM_SPREAD, AFFINITY_SPREAD, AGEING_SPREAD = 3.6, 0.4, 0.45, 0.6, 0.1  # stars
SCALE = RatingScale(0.5, 5.0)
CUTS = np.arange(0.75, 5.0, 0.5, dtype=np.float32)  # opinions between two cuts give one rating
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """``archetypes_then``, ``archetypes_now`` (archetypes, factors) and ``users_then``, ``users_now``
    (users, factors): tastes at the first and last moment, between which they turn; ``item_tastes`` (items,
    factors); biases in stars; ``noise`` the spread of one opinion."""

    archetypes_then: Matrix
    archetypes_now: Matrix
    users_then: Matrix
    users_now: Matrix
    item_tastes: Matrix
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    item_ageing: NDArray[np.float32]
    item_genres: NDArray[np.bool_]
    pair_layer: Matrix
    user_layer: Matrix
    item_layer: Matrix
    out_layer: NDArray[np.float32]
    dot_weight: float
    net_weight: float
    net_mean: float
    noise: float

    def tastes(self, users: IntArray, when: FloatArray) -> Matrix:
        """(n, factors) of ``users`` at ``when``, 0 the first moment and 1 the last."""
        share = when[:, None].astype(np.float32)
        tastes: Matrix = self.users_then[users] * (1 - share) + self.users_now[users] * share
        return tastes

    def likings(self, tastes: Matrix, items: IntArray) -> NDArray[np.float32]:
        """(n,) how much of the items' kind is to the taste: what draws users to items."""
        likings: NDArray[np.float32] = np.einsum("nf,nf->n", tastes, self.item_tastes[items])
        return likings

    def opinions(self, users: IntArray, items: IntArray, when: FloatArray) -> NDArray[np.float32]:
        """(n,) expected opinions in stars, before noise and rounding."""
        tastes = self.tastes(users, when)
        affinity = self.dot_weight * self.likings(tastes, items)
        affinity += self.net_weight * (self.network(tastes, items) - self.net_mean)
        ageing = self.item_ageing[items] * (when.astype(np.float32) - 0.5)
        opinions: NDArray[np.float32] = (
            MEAN + self.user_bias[users] + self.item_bias[items] + ageing + affinity
        )
        return opinions

    def network(self, tastes: Matrix, items: IntArray) -> NDArray[np.float32]:
        hidden = (tastes * self.item_tastes[items]) @ self.pair_layer
        hidden += tastes @ self.user_layer + (self.item_tastes @ self.item_layer)[items]
        net: NDArray[np.float32] = np.tanh(hidden) @ self.out_layer
        return net

    def rate(self, opinions: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        """(n,) half stars, one noisy opinion each."""
        noisy = opinions + self.noise * random.standard_normal(len(opinions), dtype=np.float32)
        stars: NDArray[np.float32] = np.clip(np.round(noisy * 2) / 2, SCALE.low, SCALE.high)
        return stars

    def expected(self, opinions: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n,) mean and variance of the rating that ``rate`` gives: exact sums over its ten levels."""
        mean = np.full(len(opinions), SCALE.low, dtype=np.float32)
        square = np.full(len(opinions), SCALE.low**2, dtype=np.float32)
        for cut in CUTS:
            above = ndtr((opinions - cut) / np.float32(self.noise))
            mean += np.float32(0.5) * above
            # From the level below the cut to the one above: (c + 1/4)^2 - (c - 1/4)^2 = c.
            square += cut * above
        return mean, square - mean**2


def make_world(
    *, users: int, items: int, random: np.random.Generator, nonlinear: float, noise: float, drift: float
) -> World:
    """A world drawn at random; ``drift`` radians that the archetypes' tastes turn over all years."""
    genres = draw_genres(items, random)
    genre_tastes = normal(random, len(GENRE_NAMES), FACTORS)
    by_genre = genres.astype(np.float32) @ genre_tastes / np.sqrt(genres.sum(axis=1, keepdims=True))
    item_tastes = own_mixed(by_genre, normal(random, items, FACTORS))
    archetypes = random.integers(ARCHETYPES, size=users)
    then, aside = normal(random, ARCHETYPES, FACTORS), normal(random, ARCHETYPES, FACTORS)
    now = np.float32(np.cos(drift)) * then + np.float32(np.sin(drift)) * aside
    individual = normal(random, users, FACTORS)
    world = World(
        archetypes_then=then,
        archetypes_now=now,
        users_then=own_mixed(then[archetypes], individual),
        users_now=own_mixed(now[archetypes], individual),
        item_tastes=item_tastes,
        user_bias=normal(random, users) * np.float32(USER_SPREAD),
        item_bias=normal(random, items) * np.float32(ITEM_SPREAD),
        item_ageing=normal(random, items) * np.float32(AGEING_SPREAD),
        item_genres=genres,
        pair_layer=normal(random, FACTORS, HIDDEN),
        # Weaker than the pair's: what a side does alone would be a bias, which is no interaction.
        user_layer=normal(random, FACTORS, HIDDEN) * np.float32(0.5),
        item_layer=normal(random, FACTORS, HIDDEN) * np.float32(0.5),
        out_layer=normal(random, HIDDEN),
        dot_weight=1.0,
        net_weight=1.0,
        net_mean=0.0,
        noise=noise,
    )
    return weighted(world, random, nonlinear)


def weighted(world: World, random: np.random.Generator, nonlinear: float) -> World:
    """The same with both halves of affinity scaled to their shares of its variance, measured on a table
    of sampled users and items with what either side does alone taken out."""
    users = random.integers(len(world.user_bias), size=SAMPLE).repeat(SAMPLE)
    items = np.tile(random.integers(len(world.item_bias), size=SAMPLE), SAMPLE)
    tastes = world.tastes(users, np.full(len(users), 0.5, dtype=np.float32))
    dots, net = world.likings(tastes, items), world.network(tastes, items)
    return replace(
        world,
        dot_weight=float(AFFINITY_SPREAD * np.sqrt(1 - nonlinear) / interaction(dots)),
        net_weight=float(AFFINITY_SPREAD * np.sqrt(nonlinear) / interaction(net)),
        net_mean=float(net.mean()),
    )


def interaction(values: NDArray[np.float32]) -> float:
    """Spread of a (SAMPLE, SAMPLE) table without its row and column means."""
    table = values.reshape(SAMPLE, SAMPLE)
    centred = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return max(float(centred.std()), 1e-6)


def draw_genres(items: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """(items, genres): one to three each, drama and comedy more often than film noir."""
    share = 1 / np.arange(2, len(GENRE_NAMES) + 2)
    share = random.permutation(share / share.sum())
    # The three lowest of exponential waiting times are a draw of three without replacement.
    waits = random.exponential(size=(items, len(GENRE_NAMES))) / share
    ranks = waits.argsort(axis=1).argsort(axis=1)
    return ranks < random.integers(1, 4, size=(items, 1))


def own_mixed(shared: Matrix, individual: Matrix) -> Matrix:
    mixed: Matrix = np.float32(np.sqrt(1 - OWN_SHARE)) * shared + np.float32(np.sqrt(OWN_SHARE)) * individual
    return mixed


def normal(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return random.standard_normal(shape, dtype=np.float32)
