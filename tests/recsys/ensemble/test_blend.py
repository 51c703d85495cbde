"""Blends against brute force, another solver and a planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from recsys.data.ratings import Ratings, RatingScale
from recsys.ensemble.blend import Blend, fit_blend
from recsys.ensemble.moments import Moments
from recsys.ensemble.weights import METHODS, greedy, non_negative
from recsys.errors import InputError

SCALE = RatingScale(0.5, 5.0)


def members(seed: int, count: int = 4, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.uniform(1, 5, n)
    noise = random.normal(size=(count, n)) * random.uniform(0.2, 1.0, (count, 1))
    return (truth + noise).astype(np.float32), truth.astype(np.float32)


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_moments_give_the_error_of_any_weights(seed: int, count: int) -> None:
    predictions, targets = members(seed, count, n=50)
    weights = np.random.default_rng(seed).random(count)
    direct = np.square(weights @ predictions.astype(np.float64) - targets).mean()
    assert Moments.of(predictions, targets).mse(weights) == pytest.approx(direct, rel=1e-6, abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_non_negative_is_what_a_general_solver_finds(seed: int) -> None:
    moments = Moments.of(*members(seed))
    result = minimize(moments.mse, np.full(4, 0.25), bounds=[(0, None)] * 4, tol=1e-12)
    assert moments.mse(non_negative(moments)) <= result.fun + 1e-6


def test_greedy_is_caruanas_loop() -> None:
    predictions, targets = members(3)
    wide = predictions.astype(np.float64)
    bag: list[int] = []
    best: tuple[float, list[int]] = (np.inf, [])
    for _ in range(50):
        errors = [np.square(wide[[*bag, m]].mean(axis=0) - targets).mean() for m in range(4)]
        bag.append(int(np.argmin(errors)))
        if min(errors) < best[0] - 1e-12:
            best = (min(errors), list(bag))
    expected = np.bincount(best[1], minlength=4) / len(best[1])
    np.testing.assert_allclose(greedy(Moments.of(predictions, targets)), expected)


def test_greedy_never_loses_to_the_best_member() -> None:
    for seed in range(20):
        moments = Moments.of(*members(seed))
        alone = min(moments.mse(row) for row in np.eye(4))
        assert moments.mse(greedy(moments)) <= alone + 1e-9


def test_equal_members_do_not_break_any_method() -> None:
    predictions, targets = members(0, count=1)
    moments = Moments.of(np.repeat(predictions, 3, axis=0), targets)
    for fit in METHODS.values():
        assert np.isfinite(fit(moments)).all()
        assert fit(moments).sum() == pytest.approx(1, abs=0.2)


def test_the_method_is_chosen_on_ratings_that_weights_did_not_see() -> None:
    """Forty members of pure noise: fitted weights lose to the plain mean where they were not fitted."""
    random = np.random.default_rng(0)
    truth = random.normal(3.5, 1, 60).astype(np.float32)
    noise = (truth + random.normal(0, 1, (40, 60))).astype(np.float32)
    blend = fit_blend(noise, truth, seed=0)
    assert blend.held_out[blend.method] == min(blend.held_out.values())
    assert blend.held_out["mean"] < blend.held_out["non_negative"]
    assert blend.method != "non_negative"


def test_a_broken_member_gets_no_weight() -> None:
    predictions, targets = members(1)
    wild = np.random.default_rng(0).normal(0, 40, (1, len(targets))).astype(np.float32)
    blend = fit_blend(np.concatenate([predictions, wild]), targets, seed=0)
    assert blend.weights[-1] < 0.01


def test_one_member_is_itself_and_the_same_seed_gives_the_same_blend() -> None:
    predictions, targets = members(2)
    assert fit_blend(predictions[:1], targets, seed=0).weights.tolist() == [1.0]
    first, again = (fit_blend(predictions, targets, seed=5) for _ in range(2))
    assert first.method == again.method
    np.testing.assert_array_equal(first.weights, again.weights)


def test_a_blends_stars_are_the_weighted_sum_on_the_scale_and_its_kl_the_weighted_mean() -> None:
    blend = Blend("mean", np.array([0.5, 1.5]), {})
    predictions = np.array([[1.0, 2.0], [2.0, 2.0]], dtype=np.float32)
    rows, stars = np.zeros(2, dtype=np.int32), np.array([3.0, 4.5], dtype=np.float32)
    asked = Ratings(rows, rows, stars, None, SCALE, user_count=1, item_count=1)
    assert blend.predict(predictions, asked, asked).tolist() == [3.5, 4.0]
    assert blend.predict(10 * predictions, asked, asked).tolist() == [5.0, 5.0]
    assert blend.kl([2.0, 4.0]) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("predictions", "targets", "told"),
    [
        (np.zeros((0, 3)), np.zeros(3), "at least one member"),
        (np.zeros((2, 0)), np.zeros(0), "validation slice is empty"),
        (np.full((2, 3), np.nan), np.zeros(3), r"members \[0, 1\] are not finite"),
    ],
)
def test_what_cannot_be_blended_is_refused(predictions: np.ndarray, targets: np.ndarray, told: str) -> None:
    with pytest.raises(InputError, match=told):
        fit_blend(predictions, targets, seed=0)
