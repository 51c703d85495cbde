"""Prediction intervals: coverage on new rows by band, ends on the scale, bands that can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.ratings import Ratings, RatingScale
from recsys.ensemble.rating_intervals import (
    MIN_ROWS,
    RatingIntervals,
    coverage_by_band,
    fit_rating_intervals,
)

SCALE = RatingScale(1.0, 5.0)


def made(rows: int, seed: int) -> tuple[Ratings, np.ndarray, np.ndarray]:
    """Ratings, predictions whose error shrinks with a user's activity, and the activity."""
    rng = np.random.default_rng(seed)
    known = np.repeat([3, 30, 300], 100)
    users = rng.integers(0, len(known), rows)
    spread = np.array([1.2, 0.8, 0.4])[users // 100]
    stars = rng.uniform(2, 4, rows)
    values = np.clip(stars + spread * rng.standard_normal(rows), 1, 5).astype(np.float32)
    items = rng.integers(0, 50, rows).astype(np.int32)
    ratings = Ratings(
        users.astype(np.int32), items, values, None, SCALE, user_count=len(known), item_count=50
    )
    return ratings, stars.astype(np.float32), known


def test_every_band_covers_its_level_on_new_rows() -> None:
    valid, stars, known = made(6_000, seed=1)
    intervals = fit_rating_intervals(stars, valid, known)
    assert intervals is not None
    test, predicted, _ = made(60_000, seed=2)
    bands = coverage_by_band(intervals, predicted, test, known)
    assert len(bands) >= 3
    for band in bands:
        assert band.coverage == pytest.approx(0.8, abs=0.03), band
    assert bands[0].width > bands[-1].width
    assert sum(band.rows for band in bands) == len(test)


def test_deviations_make_intervals_as_wide_as_a_rating_is_hard_to_predict() -> None:
    """Half the items are four times as noisy: in units of deviations both halves are covered alike."""
    rng = np.random.default_rng(5)
    users, items = rng.integers(0, 300, 40_000), rng.integers(0, 50, 40_000)
    deviations = np.where(items % 2, 0.2, 0.8).astype(np.float32)
    stars = np.full(len(users), 3.0, np.float32)
    values = (3 + deviations * rng.standard_normal(len(users))).astype(np.float32)
    scale, known = RatingScale(-9.0, 9.0), np.full(300, 20)
    sides = (users.astype(np.int32), items.astype(np.int32))
    ratings = Ratings(*sides, values, None, scale, user_count=300, item_count=50)
    fit, judge = np.arange(20_000), np.arange(20_000, 40_000)
    patchy = deviations.copy()
    patchy[:5_000] = np.nan
    scaled = fit_rating_intervals(stars[fit], ratings.take(fit), known, deviations=patchy[fit])
    plain = fit_rating_intervals(stars[fit], ratings.take(fit), known)
    assert scaled is not None
    assert plain is not None
    assert (scaled.scaled, plain.scaled) == (True, False)
    new = ratings.take(judge)
    by_deviation = scaled.covers(stars[judge], 20, new, deviations[judge])
    apart = plain.covers(stars[judge], 20, new)
    hard = deviations[judge] > 0.5
    for part in (hard, ~hard):
        assert by_deviation[part].mean() == pytest.approx(0.8, abs=0.02)
    assert apart[hard].mean() < 0.7 < 0.95 < apart[~hard].mean()
    low, high = scaled.ends(stars[judge], 20, scale, deviations[judge])
    assert np.mean(high - low) < 2 * 1.29 * deviations.mean() + 0.02  # 1.2816 deviations hold 80% of a normal
    with pytest.raises(ValueError, match="no deviations"):
        scaled.ends(stars[judge], 20, scale)
    patchy = np.where(np.arange(20_000) < 8_000, np.nan, deviations[judge])
    bands = coverage_by_band(scaled, stars[judge], new, known, patchy)
    assert sum(band.rows for band in bands) == 12_000


def test_a_biased_model_gets_an_interval_that_is_not_symmetric() -> None:
    valid, stars, known = made(6_000, seed=3)
    intervals = fit_rating_intervals(stars + np.float32(0.5), valid, known)
    assert intervals is not None
    assert all(-low > high for low, high in zip(intervals.low, intervals.high, strict=True))


def test_too_few_rows_make_no_interval_and_few_make_one_band() -> None:
    valid, stars, known = made(MIN_ROWS - 1, seed=4)
    assert fit_rating_intervals(stars, valid, known) is None
    valid, stars, known = made(MIN_ROWS, seed=4)
    intervals = fit_rating_intervals(stars, valid, known)
    assert intervals is not None
    assert intervals.least_ratings == (0,)


def test_quantiles_by_hand() -> None:
    """Nine residuals, level 0.8: ranks 1 and 9, so that a tenth residual is inside with chance 8 / 10."""
    rows = 9 * 30
    values = np.tile(np.arange(-4.0, 5.0), 30) + 5
    scale = RatingScale(0.0, 10.0)
    users = np.zeros(rows, np.int32)
    valid = Ratings(users, users, values.astype(np.float32), None, scale, user_count=1, item_count=1)
    intervals = fit_rating_intervals(np.full(rows, 5.0, np.float32), valid, np.array([7]))
    assert intervals is not None
    rank = (rows + 1) * 0.1
    ordered = np.sort(values - 5)
    assert intervals.low == pytest.approx((ordered[int(rank) - 1],))
    assert intervals.high == pytest.approx((ordered[rows - int(rank)],))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=20), st.floats(1, 5))
def test_ends_stay_on_the_scale_and_around_each_other(known: list[int], star: float) -> None:
    intervals = RatingIntervals(0.8, (0, 10, 100), (-2.0, -1.0, -0.5), (1.5, 1.0, 0.5))
    stars = np.full(len(known), star, np.float32)
    low, high = intervals.ends(stars, np.asarray(known), SCALE)
    assert np.all((low >= 1) & (high <= 5) & (low <= stars) & (high >= stars))
    expected = [0 if count < 10 else 1 if count < 100 else 2 for count in known]
    assert intervals.bands(np.asarray(known)).tolist() == expected


@pytest.mark.parametrize("least", [(), (1,), (0, 5, 5), (0, 9, 3)])
def test_bands_that_cannot_be_are_refused(least: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        RatingIntervals(0.8, least, (-1.0,) * len(least), (1.0,) * len(least))
