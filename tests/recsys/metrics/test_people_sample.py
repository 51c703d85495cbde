"""Samples of people: everybody equally likely, every activity in its share, intervals that hold."""

from __future__ import annotations

import numpy as np

from recsys.metrics.people_sample import sample_interval, sampled_people

PEOPLE, MOST = 2_000, 150
ACTIVITY = (1000 * np.random.default_rng(0).lognormal(3, 1, PEOPLE)).astype(np.int64)  # hardly any equal
USERS = np.random.default_rng(1).permutation(50_000)[:PEOPLE]


def test_few_people_are_all_judged() -> None:
    np.testing.assert_array_equal(sampled_people(USERS, ACTIVITY, most=PEOPLE, seed=0), USERS)
    assert sample_interval(np.array([0.2, 0.4]), 2) == (0.30000000000000004, 0.30000000000000004)


def test_everybody_is_as_likely_and_each_tenth_by_activity_has_a_tenth() -> None:
    counts = np.zeros(50_000)
    tenth = np.empty(50_000, dtype=np.int64)
    tenth[USERS[np.argsort(ACTIVITY, kind="stable")]] = np.arange(PEOPLE) * 10 // PEOPLE
    for seed in range(400):
        chosen = sampled_people(USERS, ACTIVITY, most=MOST, seed=seed)
        assert len(np.unique(chosen)) == MOST
        counts[chosen] += 1
        assert np.abs(np.bincount(tenth[chosen], minlength=10) - MOST / 10).max() <= 1
    seen = counts[USERS]
    assert seen.sum() == 400 * MOST
    # Binomial: 30 expected, standard deviation 5.3.
    assert seen.min() > 5
    assert seen.max() < 60


def test_intervals_hold_the_mean_over_all_and_are_narrower_than_those_of_a_plain_sample() -> None:
    random = np.random.default_rng(2)
    figures = np.zeros(50_000)
    figures[USERS] = np.clip(0.1 * np.log(ACTIVITY) + 0.1 * random.standard_normal(PEOPLE), 0, 1)
    truth, held, widths = figures[USERS].mean(), 0, []
    for seed in range(400):
        values = figures[sampled_people(USERS, ACTIVITY, most=MOST, seed=seed)]
        low, high = sample_interval(values, PEOPLE)
        held += low <= truth <= high
        widths.append(high - low)
    assert 0.92 <= held / 400 <= 0.99
    plain = 2 * 1.96 * figures[USERS].std() * np.sqrt((1 - MOST / PEOPLE) / MOST)
    assert np.mean(widths) < 0.85 * plain
