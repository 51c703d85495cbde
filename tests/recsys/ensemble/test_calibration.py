"""Corrections against definitions written out, another solver, a planted truth and none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.ratings import Ratings, RatingScale
from recsys.ensemble.blend import CORRECTED, fit_corrected
from recsys.ensemble.calibration import EDGE, Correction
from recsys.ensemble.calibration_fit import RIDGE, fit_correction
from recsys.ensemble.profiles import DAMPING, everyone_of, profiles, sums
from tests.releases import make_correction

SCALE = RatingScale(1.0, 5.0)


def drawn(random: np.random.Generator, count: int, *, users: int = 80, items: int = 50) -> Ratings:
    return Ratings(
        users=random.integers(users, size=count).astype(np.int32),
        items=random.integers(items, size=count).astype(np.int32),
        values=random.integers(1, 6, count).astype(np.float32),
        times=None,
        scale=SCALE,
        user_count=users,
        item_count=items,
    )


def world(seed: int, *, planted: float, count: int = 6_000) -> tuple[np.ndarray, Ratings, Ratings]:
    """Stars of a blend, the ratings asked for, and those known: half of the users give only ends of the
    scale there, and by ``planted`` the truth lies further from 3 than the blend says for them."""
    random = np.random.default_rng(seed)
    known, asked = drawn(random, 5 * count), drawn(random, count)
    ends = np.where(random.random(len(known)) < 0.5, 1, 5)
    known = replace(known, values=np.where(known.users < 40, ends, 3).astype(np.float32))
    stars = random.uniform(2, 4, count).astype(np.float32)
    own = np.where(asked.users < 40, 1 + planted, 1 - planted)
    truth = 3 + own * (stars - 3) + 0.3 * random.standard_normal(count)
    return stars, replace(asked, values=np.clip(truth, 1, 5).astype(np.float32)), known


def test_a_profile_is_count_mean_spread_and_ends_with_a_few_average_ratings_added() -> None:
    ratings = drawn(np.random.default_rng(0), 300, users=20)
    everyone = everyone_of(ratings)
    result = profiles(sums(ratings.users, ratings.values, 21, SCALE), everyone)
    for user in (0, 7, 20):  # the last has no rating
        own = ratings.values[ratings.users == user].astype(np.float64)
        weight = np.concatenate([np.ones(len(own)), np.full(len(ratings), DAMPING / len(ratings))])
        stars = np.concatenate([own, ratings.values])
        mean = np.average(stars, weights=weight)
        expected = [
            np.log(1 + len(own)),
            mean,
            np.sqrt(np.average((stars - mean) ** 2, weights=weight)),
            np.average(stars == 5, weights=weight),
            np.average(stars == 1, weights=weight),
        ]
        np.testing.assert_allclose(result[user], expected, rtol=1e-9)


def test_a_planted_slope_is_found() -> None:
    stars, asked, known = world(0, planted=0.6)
    blend = fit_corrected(np.stack([stars, stars]), asked, known, seed=0)
    assert blend.correction is not None
    assert blend.name.endswith(CORRECTED)
    assert blend.held_out[CORRECTED] == pytest.approx(0.3, abs=0.02)
    assert blend.held_out["mean"] > 0.4
    again, truth, _ = world(1, planted=0.6)
    error = blend.predict(np.stack([again, again]), truth, known) - truth.values
    assert np.sqrt(np.square(error).mean()) == pytest.approx(0.3, abs=0.02)


def test_where_there_is_nothing_to_correct_nothing_is() -> None:
    kept = [
        fit_corrected(stars[None], asked, known, seed=seed)
        for seed in range(20)
        for stars, asked, known in [world(seed, planted=0.0, count=800)]
    ]
    assert sum(entry.correction is not None for entry in kept) <= 2
    assert next(entry for entry in kept if entry.correction is None).name == "mean"


def test_the_fit_is_ridge_regression_on_the_columns_written_out() -> None:
    stars, asked, known = world(3, planted=0.6, count=2_000)
    result, _ = fit_correction(stars, asked, known, np.arange(2_000) % 5)
    assert result is not None
    everyone, x = everyone_of(known), (stars.astype(np.float64) - stars.mean()) / stars.std()
    columns = [x**power for power in range(4)]
    for rows, count, own in ((known.users, 80, asked.users), (known.items, 50, asked.items)):
        each = profiles(sums(rows, known.values, count, SCALE), everyone)[own]
        spread = each.std(axis=0)
        each = np.clip((each - each.mean(axis=0)) / np.where(spread < 1e-9, 1, spread), -EDGE, EDGE)
        columns += [each[:, column] * x**power for power in range(3) for column in range(5)]
    design = np.stack(columns, axis=1)
    rows = np.concatenate([design, np.sqrt(RIDGE) * np.eye(design.shape[1])])
    left = np.concatenate([asked.values - stars.astype(np.float64), np.zeros(design.shape[1])])
    solved = np.linalg.lstsq(rows, left, rcond=None)[0]
    np.testing.assert_allclose(result.predict(stars, asked, known), stars + design @ solved, atol=2e-5)


@given(st.lists(st.sampled_from([1.0, 2.0, 3.5, 5.0]), max_size=30), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_a_history_alone_gives_the_part_that_its_user_has_among_all(given_: list[float], seed: int) -> None:
    ratings = drawn(np.random.default_rng(seed), 200, users=5)
    values = np.array(given_, dtype=np.float32)
    own = replace(
        ratings,
        users=np.concatenate([ratings.users, np.full(len(values), 5, dtype=np.int32)]),
        items=np.concatenate([ratings.items, np.zeros(len(values), dtype=np.int32)]),
        values=np.concatenate([ratings.values, values]),
        user_count=6,
    )
    correction = make_correction(seed)
    np.testing.assert_allclose(correction.of_history(values, SCALE), correction.of_users(own)[5], atol=1e-12)


def test_far_out_people_are_corrected_as_those_at_the_edge() -> None:
    correction = make_correction()
    many, more = (correction.of_history(np.full(count, 5.0), SCALE) for count in (10_000, 1_000_000))
    np.testing.assert_allclose(many, more, atol=1e-3)


def test_few_ratings_alike_ones_and_a_single_fold_do_not_break_it() -> None:
    random = np.random.default_rng(0)
    asked = drawn(random, 3)
    for stars in (np.full(3, 3.0, dtype=np.float32), asked.values):
        result, error = fit_correction(stars, asked, drawn(random, 4), np.zeros(3, dtype=np.int64))
        assert np.isfinite(error)
        assert result is None or np.isfinite(result.predict(stars, asked, asked)).all()


@pytest.mark.parametrize(
    "change",
    [{"alone": (0.0,)}, {"spread": 0.0}, {"everyone": (1.0,)}, {"centre": float("nan")}],
    ids=["a cubic of one number", "no spread", "a short row", "not a number"],
)
def test_numbers_that_are_no_correction_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="correction's"):
        Correction(**{**vars(make_correction()), **change})  # type: ignore[arg-type]
