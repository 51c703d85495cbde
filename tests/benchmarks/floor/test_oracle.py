"""The oracle against brute-force quadrature over everything it does not know, and where it must lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import ndtr

from recsys.data.ratings import Ratings
from recsys.data.synthetic import Synthetic, SyntheticSpec, from_spec, world_of
from recsys.data.world import ARCHETYPES, OWN_SHARE, USER_SPREAD, World
from tests.benchmarks.floor.oracle import POSITION, infer

NODES = 7  # in each of five dimensions: 16,807 people of each archetype
NEGLIGIBLE = 1e-8  # of the prior: such people, half of all, hold 0.001% of it


def tiny(nonlinear: float, drift: float) -> tuple[World, Synthetic]:
    spec = SyntheticSpec(users=12, items=30, ratings=150, seed=4, nonlinear=nonlinear, drift=drift)
    return world_of(spec), from_spec(spec)


def crowd(world: World) -> tuple[World, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """The same world inhabited by every node of the quadrature, and the prior weight of each."""
    nodes, weights = hermegauss(NODES)
    grid = np.stack(np.meshgrid(*[nodes] * POSITION, indexing="ij"), axis=-1).reshape(-1, POSITION)
    weight = np.stack(np.meshgrid(*[weights] * POSITION, indexing="ij"), axis=-1).reshape(-1, POSITION)
    weight = weight.prod(axis=1) / weights.sum() ** POSITION
    grid, weight = grid[weight > NEGLIGIBLE], weight[weight > NEGLIGIBLE]
    own = np.sqrt(OWN_SHARE) * grid[:, 1:]
    then, now = (
        (np.sqrt(1 - OWN_SHARE) * kinds[:, None] + own).reshape(-1, own.shape[1]).astype(np.float32)
        for kinds in (world.archetypes_then, world.archetypes_now)
    )
    bias = np.tile(USER_SPREAD * grid[:, 0], ARCHETYPES).astype(np.float32)
    people = replace(world, users_then=then, users_now=now, user_bias=bias)
    return people, np.tile(weight, ARCHETYPES)


def integrated(world: World, history: Ratings, asked: Ratings) -> list[float]:
    """The mean of each asked rating over all people, weighed by prior and by ``history``."""
    people, weight = crowd(world)
    everyone = np.arange(len(weight))

    def opinions(pairs: Ratings, row: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        assert pairs.times is not None
        first, last = 789_652_009, 1_697_164_147
        when = np.full(len(weight), (pairs.times[row] - first) / (last - first))
        return people.opinions(everyone, np.full(len(weight), pairs.items[row]), when)

    for row, stars in enumerate(history.values.tolist()):
        opinion = opinions(history, row).astype(np.float64)
        above = 1.0 if stars == 5.0 else ndtr((stars + 0.25 - opinion) / world.noise)
        below = 0.0 if stars == 0.5 else ndtr((stars - 0.25 - opinion) / world.noise)
        weight = weight * (above - below)
    weight = weight / weight.sum()
    return [float(weight @ world.expected(opinions(asked, row))[0]) for row in range(len(asked))]


@pytest.mark.slow
@pytest.mark.parametrize(("nonlinear", "drift"), [(0.0, 0.0), (1.0, 0.0), (0.5, 0.6)])
def test_it_predicts_what_quadrature_over_all_people_does(nonlinear: float, drift: float) -> None:
    world, made = tiny(nonlinear, drift)
    ratings = made.dataset.ratings
    for user in (0, 7):
        own = ratings.take(np.flatnonzero(ratings.users == user))
        history, asked = own.take(np.arange(0, 5)), own.take(np.arange(5, 8))
        result = infer(world, history, asked, draws=20_000)
        assert result.expected == pytest.approx(integrated(world, history, asked), abs=0.01)
        assert result.effective[user] > 4_000
        # As many draws as a benchmark takes.
        assert infer(world, history, asked).expected == pytest.approx(result.expected, abs=0.1)


def test_of_who_gave_nothing_it_knows_the_prior() -> None:
    world, made = tiny(1.0, 0.0)
    ratings = made.dataset.ratings
    asked = ratings.take(np.arange(3))
    wanted = integrated(world, ratings.take(np.arange(0)), asked)
    assert infer(world, ratings.take(np.arange(0)), asked, draws=20_000).expected == pytest.approx(
        wanted, abs=0.02
    )


@pytest.mark.parametrize("nonlinear", [0.0, 1.0])
def test_it_lies_above_the_noise_floor_and_nears_it_with_ratings(nonlinear: float) -> None:
    spec = SyntheticSpec(users=150, items=200, ratings=9_000, nonlinear=nonlinear, drift=0)
    world, made = world_of(spec), from_spec(spec)
    ratings = made.dataset.ratings
    order = np.random.default_rng(0).permutation(len(ratings))
    test, few, many = np.split(order, [2_000, 3_000])
    asked = ratings.take(test)
    # Against what is expected of each rating: the noise in it would hide the difference.
    far = [
        float(np.sqrt(np.mean((infer(world, known, asked).expected - made.expected[test]) ** 2)))
        for known in (ratings.take(few), ratings.take(np.concatenate([few, many])))
    ]
    assert 0.1 < far[1] < 0.75 * far[0] < 0.45
    assert infer(world, ratings.take(few), asked).expected.tolist() == pytest.approx(
        infer(world, ratings.take(few), replace(asked, values=np.ones_like(asked.values))).expected.tolist()
    )


def test_a_seed_changes_the_draws_alone() -> None:
    world, made = tiny(1.0, 0.0)
    ratings = made.dataset.ratings
    known, asked = ratings.take(np.arange(100)), ratings.take(np.arange(100, 150))
    entry, same, other = (infer(world, known, asked, seed=seed).expected for seed in (0, 0, 1))
    assert np.array_equal(entry, same)
    assert 0 < np.abs(entry - other).max() < 0.2
