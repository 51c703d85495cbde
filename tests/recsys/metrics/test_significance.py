"""Bootstrap intervals against scipy's, against theory, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recsys.metrics import significance
from recsys.metrics.significance import mean_difference, mean_over_people, rmse_difference


def errors(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Squared errors of two predictors that share most of their noise; the first is a little better."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.9, count)
    return (shared + random.normal(0, 0.1, count)) ** 2, (shared + random.normal(0, 0.25, count)) ** 2


def test_against_scipys_paired_bootstrap() -> None:
    first, second = errors(3000, seed=0)
    ours = rmse_difference(first, second, seed=1, resamples=4000)
    theirs = stats.bootstrap(
        (first, second),
        lambda a, b, axis: np.sqrt(a.mean(axis=axis)) - np.sqrt(b.mean(axis=axis)),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=2,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(np.sqrt(first.mean()) - np.sqrt(second.mean()))
    assert ours.low == pytest.approx(theirs.low, abs=0.08 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.08 * width)
    assert ours.below_zero


def test_grouping_large_samples_keeps_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = errors(10_000, seed=3)
    exact = rmse_difference(first, second, seed=1)
    monkeypatch.setattr(significance, "MAX_UNITS", 1000)
    grouped = rmse_difference(first, second, seed=1)
    assert grouped.value == exact.value
    assert grouped.high - grouped.low == pytest.approx(exact.high - exact.low, rel=0.12)


def test_clusters_widen_when_a_users_errors_go_together() -> None:
    random = np.random.default_rng(4)
    users = np.repeat(np.arange(200), 50)
    errors_by_user = random.gamma(2, 0.5, 200)[users]
    none = np.zeros_like(errors_by_user)
    alone = mean_difference(errors_by_user, none, seed=0)
    together = mean_difference(errors_by_user, none, seed=0, clusters=users)
    expected = np.std(errors_by_user[::50], ddof=1) / np.sqrt(200)
    assert together.high - together.low == pytest.approx(2 * 1.96 * expected, rel=0.15)
    assert alone.high - alone.low < 0.3 * (together.high - together.low)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        first, second = random.normal(0.3, 1, 150), random.normal(0, 1, 150)
        result = mean_difference(first, second, seed=seed, resamples=400)
        held += result.low <= 0.3 <= result.high
    assert 0.88 <= held / 200 <= 0.99


def test_same_seed_same_interval() -> None:
    first, second = errors(500, seed=6)
    assert rmse_difference(first, second, seed=7) == rmse_difference(first, second, seed=7)


def test_a_mean_over_people_is_students_t() -> None:
    values = [0.90, 0.91, 0.89, 0.902]
    result = mean_over_people(np.array(values))
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (result.low, result.high) == pytest.approx((low, high))
    assert np.isnan(mean_over_people(np.array([0.9])).low)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="got 2 and 3"):
        rmse_difference(np.ones(2), np.ones(3), seed=0)
