"""Statistics of experiments, against independent figures and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from serving.experiments import sample_ratio
from serving.experiments.betting import bet
from serving.experiments.difference import difference
from serving.experiments.verdict import ExperimentDecision, Guardrail, decide_experiment


def test_difference_agrees_with_welch() -> None:
    rng = np.random.default_rng(3)
    outcome, treated = rng.normal(size=400), rng.random(400) < 0.3
    ours = difference(outcome, treated)
    welch = stats.ttest_ind(outcome[treated], outcome[~treated], equal_var=False)
    assert ours.estimate / ours.standard_error == pytest.approx(float(welch.statistic), rel=1e-9)


def test_cuped_removes_what_was_known_and_keeps_the_effect() -> None:
    rng = np.random.default_rng(4)
    before = rng.normal(size=20_000)
    treated = rng.random(20_000) < 0.5
    outcome = 3 * before + rng.normal(size=20_000) + 0.2 * treated
    ours = difference(outcome, treated, before)
    assert ours.variance_kept == pytest.approx(0.1, abs=0.01)
    assert abs(ours.estimate - 0.2) < 4 * ours.standard_error


def test_sample_ratio_alarms_on_a_mismatch_and_seldom_without() -> None:
    rng = np.random.default_rng(5)
    false = 0
    for _ in range(300):
        treated = np.cumsum(rng.random(1000) < 0.5)
        looks = range(50, 1000, 50)
        false += any(
            sample_ratio.check([((n - treated[n - 1], treated[n - 1]), (0.5, 0.5))]).mismatch for n in looks
        )
    assert false <= 3
    assert sample_ratio.check([((5000, 4400), (0.5, 0.5))]).mismatch
    assert not sample_ratio.check([((900, 100), (0.9, 0.1)), ((400, 410), (0.5, 0.5))]).mismatch


def test_the_bayes_factor_is_a_ratio_of_marginal_likelihoods() -> None:
    """Counts (1, 0) by hand: Dirichlet mean 1/2 against 1/2 is even evidence; (2, 0) by the urn."""
    assert sample_ratio.log_bayes_factor((1, 0), (0.5, 0.5)) == pytest.approx(0.0, abs=1e-9)
    urn = 0.5 * 51 / 101 / 0.25
    assert sample_ratio.log_bayes_factor((2, 0), (0.5, 0.5)) == pytest.approx(np.log(urn))


@pytest.mark.parametrize(("shares", "true"), [((0.5, 0.5), (0.6, 0.4)), ((0.7, 0.2, 0.1), (0.7, 0.2, 0.1))])
def test_the_bayes_factor_is_the_product_of_what_each_user_was_predicted_with(
    shares: tuple[float, ...], true: tuple[float, ...]
) -> None:
    """One user after another, without a gamma function: the arm's weight by then over all weight."""
    counts, log_factor = [0] * len(shares), 0.0
    for arm in np.random.default_rng(3).choice(len(shares), 2_000, p=true).tolist():
        predicted = (100 * shares[arm] + counts[arm]) / (100 + sum(counts))
        log_factor += math.log(predicted / shares[arm])
        counts[arm] += 1
    assert sample_ratio.log_bayes_factor(counts, shares) == pytest.approx(log_factor, abs=1e-8)
    assert sample_ratio.check([(counts, shares)]).mismatch == (shares != true)


def test_an_arm_without_a_share_keeps_its_place_among_the_counts() -> None:
    """The middle one of three arms has nobody at the second revision: its users are its own all the same."""
    stages = [((300, 100, 100), (0.6, 0.2, 0.2)), ((510, 0, 490), (0.5, 0.0, 0.5))]
    result = sample_ratio.check(stages)
    assert result.counts == (810, 100, 590)
    assert result.shares == pytest.approx((800 / 1500, 100 / 1500, 600 / 1500))
    bayes = sample_ratio.log_bayes_factor((300, 100, 100), (0.6, 0.2, 0.2))
    bayes += sample_ratio.log_bayes_factor((510, 490), (0.5, 0.5))
    assert result.p_value == pytest.approx(min(1.0, float(np.exp(-bayes))))


def verdict_of(
    estimate: float, *, counts: tuple[int, int] = (1000, 1000), broken: bool = False
) -> ExperimentDecision:
    rng = np.random.default_rng(6)
    treated = rng.permutation(sum(counts)) < counts[1]
    values = (rng.random(sum(counts)) < 0.4 + estimate * treated).astype(float)
    evidence = bet(values, treated, np.full(sum(counts), 0.5))
    rails = [Guardrail("slow", 0.2, 0.01, 0.01, excess=0.19 if broken else 0.0)]
    ratio = sample_ratio.check([(counts, (0.5, 0.5))])
    return decide_experiment(ratio, evidence, rails).decision


def test_verdicts_strictest_reason_first() -> None:
    assert verdict_of(0.3) is ExperimentDecision.SHIP
    assert verdict_of(-0.3) is ExperimentDecision.STOP
    assert verdict_of(0.0) is ExperimentDecision.NOT_YET
    assert verdict_of(0.3, broken=True) is ExperimentDecision.STOP
    assert verdict_of(0.3, counts=(1000, 700), broken=True) is ExperimentDecision.NONE


def test_few_users_are_not_yet_and_holes_are_no_verdict() -> None:
    ratio = sample_ratio.check([((55, 54), (0.5, 0.5))])
    nothing = bet(np.empty(0), np.empty(0, bool), np.empty(0))
    assert decide_experiment(ratio, nothing).decision is ExperimentDecision.NOT_YET
    assert decide_experiment(ratio, nothing, lost_events=3).decision is ExperimentDecision.NONE


def test_a_secondary_metric_decides_nothing() -> None:
    y, treated = np.repeat([0.0, 1.0], 500), np.repeat([False, True], 500)
    order = np.random.default_rng(0).permutation(1000)
    evidence = bet(y[order], treated[order], np.full(1000, 0.5))
    ratio = sample_ratio.check([((500, 500), (0.5, 0.5))])
    assert decide_experiment(ratio, evidence).decision is ExperimentDecision.SHIP
    assert decide_experiment(ratio, evidence, primary=False).decision is ExperimentDecision.SECONDARY
    nobody = decide_experiment(ratio, bet(np.empty(0), np.empty(0, bool), np.empty(0)), primary=False)
    assert nobody.words == "Secondary, decides nothing: no users to compare yet."


def test_a_doubtful_sample_ratio_is_warned_of_and_a_certain_one_blocks() -> None:
    evidence = bet(np.zeros(10), np.arange(10) % 2 == 0, np.full(10, 0.5))
    suspect = sample_ratio.check([((1481, 1298), (0.5, 0.5))])
    assert suspect.p_value == pytest.approx(0.016, abs=0.001)
    assert "Warning: 1481 / 1298 users hardly fit" in decide_experiment(suspect, evidence).words
    assert sample_ratio.check([((1500, 1270), (0.5, 0.5))]).mismatch
