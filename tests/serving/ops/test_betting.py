"""The test by betting: formulas written out over all users, exactness under changed shares, and power."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.experiments.aggregates import Aggregates
from serving.experiments.betting import WEIGHTS, Evidence, Z, bet, users_needed
from tests.serving.made_events import make_exposure


def written_out(y: np.ndarray, t: np.ndarray, p: np.ndarray, difference: float = 0.0) -> tuple[float, float]:
    """The two log e-processes' maxima, by the definition, one user after another."""
    wealth = {+1: np.ones(len(Z)), -1: np.ones(len(Z))}
    best = {+1: 1.0, -1: 1.0}
    total = 0.0
    for i in range(len(y)):
        m = min(1.0, max(0.0, (total + 0.02) / (i + 1)))
        x = (t[i] - p[i]) * (y[i] - m) - p[i] * (1 - p[i]) * difference
        for sign in (+1, -1):
            a, b = ((1 - p[i]) * m, p[i] * (1 - m)) if sign > 0 else ((1 - p[i]) * (1 - m), p[i] * m)
            k = np.minimum(0.25 * Z, 0.95 / max(a, b))
            wealth[sign] = wealth[sign] * (1 + sign * k * x)
            best[sign] = max(best[sign], float(WEIGHTS @ wealth[sign]))
        total += y[i]
    return math.log(best[+1]), math.log(best[-1])


def people(n: int, *, rate: float, lift: float, share: float, seed: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    p = np.full(n, share)
    treated = random.random(n) < p
    y = (random.random(n) < rate * (1 + lift * treated)).astype(float)
    return y, treated, p


@pytest.mark.parametrize("lift", [0.0, 0.5, -0.5])
def test_it_is_the_definition_over_all_users(lift: float) -> None:
    y, treated, p = people(700, rate=0.2, lift=lift, share=0.3, seed=5)
    result = bet(y, treated, p)
    better, worse = written_out(y, treated, p)
    assert result.better == pytest.approx(better, abs=1e-9)
    assert result.worse == pytest.approx(worse, abs=1e-9)


def test_the_interval_ends_where_the_evidence_against_its_end_is_the_threshold() -> None:
    """The second-order form against bisection over all users."""
    y, treated, p = people(4000, rate=0.2, lift=0.3, share=0.5, seed=6)
    result = bet(y, treated, p)

    def log_wealth_at_the_end(t: float) -> float:
        wealth, total = np.zeros(len(Z)), 0.0
        for i in range(len(y)):
            m = (total + 0.02) / (i + 1)
            k = np.minimum(0.25 * Z, 0.95 / max((1 - p[i]) * m, p[i] * (1 - m)))
            wealth += np.log(1 + k * ((treated[i] - p[i]) * (y[i] - m) - 0.25 * t))
            total += y[i]
        return float(np.log(WEIGHTS @ np.exp(wealth)))

    low, high = result.estimate - 0.2, result.estimate
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if log_wealth_at_the_end(middle) >= result.threshold else (low, middle)
    assert result.low == pytest.approx(low, abs=2e-4)
    assert result.low < result.estimate < result.high


def test_no_conversion_at_all_is_no_evidence() -> None:
    result = bet(np.zeros(500), np.arange(500) % 20 == 0, np.full(500, 0.05))
    assert not result.ships
    assert not result.stops
    assert result.low < 0 < result.high


@pytest.mark.parametrize(("rate", "share"), [(0.01, 0.05), (0.05, 0.05), (0.2, 0.5), (0.005, 0.01)])
def test_identical_arms_are_seldom_told_apart(rate: float, share: float) -> None:
    """Every prefix is a look: 5% of runs may be wrong, and 300 runs have at most 25 such by chance."""
    wrong = 0
    for seed in range(300):
        result = bet(*people(3000, rate=rate, lift=0.0, share=share, seed=seed))
        wrong += result.ships or result.stops
    assert wrong <= 15


def test_a_change_of_shares_and_a_trend_over_time_make_no_difference() -> None:
    """10% then 50%, with a rate that falls: pooled shares would see the treatment as worse."""
    wrong = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        p = np.where(np.arange(4000) < 2000, 0.1, 0.5)
        treated = random.random(4000) < p
        y = (random.random(4000) < np.where(np.arange(4000) < 2000, 0.4, 0.1)).astype(float)
        result = bet(y, treated, p)
        wrong += result.ships or result.stops
    assert wrong <= 10


def test_a_planted_lift_and_a_planted_harm_are_found() -> None:
    assert bet(*people(20_000, rate=0.2, lift=0.2, share=0.5, seed=1)).ships
    assert bet(*people(20_000, rate=0.2, lift=-0.2, share=0.5, seed=2)).stops


def test_what_was_known_before_sharpens_errors_and_stays_exact() -> None:
    random = np.random.default_rng(3)
    known = random.normal(size=6000)
    treated = random.random(6000) < 0.5
    y = np.clip(3 + 0.5 * known + 0.1 * random.normal(size=6000) + 0.08 * treated, 0, 4)
    alone, sharper = (
        bet(y, treated, np.full(6000, 0.5), bound=4.0, kind="error", covariate=covariate)
        for covariate in (None, known)
    )
    assert sharper.variance < 0.2 * alone.variance
    assert sharper.better > alone.better


def test_many_treatments_need_more_evidence() -> None:
    y, treated, p = people(1000, rate=0.2, lift=0.0, share=0.5, seed=4)
    entry, many = bet(y, treated, p), bet(y, treated, p, treatments=10)
    assert many.threshold - entry.threshold == pytest.approx(math.log(10))
    assert many.low <= entry.low


def test_users_needed_grows_with_the_square_of_a_smaller_effect() -> None:
    few, many = users_needed(0.04, 0.16, 0.25), users_needed(0.02, 0.16, 0.25)
    assert many == pytest.approx(4 * few, rel=0.01)
    assert users_needed(0.0, 0.16, 0.25) == 10**9
    # A rate of 1% at a 5% share, +20%: hundreds of thousands of users whatever the method.
    assert 400_000 < users_needed(0.002, 0.01 * 0.99, 0.05 * 0.95) < 900_000


def test_a_share_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        bet(np.zeros(2), np.array([True, False]), np.array([0.0, 0.5]))


def test_nobody_yet_is_no_evidence() -> None:
    result: Evidence = bet(np.empty(0), np.empty(0, bool), np.empty(0))
    assert (result.users, result.ships, result.stops) == (0, False, False)


@pytest.mark.parametrize("reversed_", [False, True])
def test_a_batch_that_comes_late_moves_the_entry_with_its_arm_and_revision(reversed_: bool) -> None:
    """The order in which batches are stored does not change who entered where, and at what share."""
    aggregates = Aggregates(frozenset({"control", "new"}), 100.0)
    shown = [
        make_exposure("a", 10.0, "u", "control", 1, ("i",), "personal", 1.0, False),
        make_exposure("b", 50.0, "u", "new", 2, ("i",), "personal", 1.0, False),
    ]
    for exposure in reversed(shown) if reversed_ else shown:
        aggregates.add_exposure(exposure)
    user = aggregates.users["u"]
    assert (user.first_at, user.arm, user.revision, user.crossed) == (10.0, "control", 1, True)
