"""Coverage, diversity and novelty against loops and hand-worked lists."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from recsys.metrics import beyond_accuracy
from recsys.metrics.beyond_accuracy import (
    coverage,
    diversity,
    novelty,
    popular_share,
    popular_share_of_ratings,
)
from recsys.metrics.ranking import NO_ITEM
from recsys.metrics.significance import ConfidenceInterval


def test_coverage_counts_items_once() -> None:
    lists = np.array([[0, 1], [1, NO_ITEM]], dtype=np.int32)
    assert coverage(lists, item_count=8).value == 0.25


def test_diversity_against_scipy_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beyond_accuracy, "BLOCK", 4)
    random = np.random.default_rng(0)
    features = (random.random((30, 6)) < 0.5).astype(np.float32)
    features[:, 0] = 1
    lists = np.array([random.choice(30, 5, replace=False) for _ in range(11)], dtype=np.int32)
    lists[3, 2:] = NO_ITEM
    expected = [
        np.mean([cosine(features[a], features[b]) for a, b in combinations(row[row >= 0], 2)])
        for row in lists
    ]
    assert diversity(lists, features).value == pytest.approx(np.mean(expected), abs=1e-6)


def test_diversity_of_clones_and_strangers() -> None:
    features = np.array([[1, 0], [2, 0], [0, 1], [0, 0]], dtype=np.float32)
    assert diversity(np.array([[0, 1]], dtype=np.int32), features).value == pytest.approx(0)
    assert diversity(np.array([[0, 2], [0, 3]], dtype=np.int32), features).value == pytest.approx(1)
    assert np.isnan(diversity(np.array([[0, NO_ITEM]], dtype=np.int32), features).value)


def test_novelty_in_bits() -> None:
    popularity = np.array([4, 1, 0])
    lists = np.array([[0, 1], [2, NO_ITEM]], dtype=np.int32)
    # Rated by half of 8 users: 1 bit; by one of 8, or by none: 3 bits.
    assert novelty(lists, popularity, user_count=8).value == pytest.approx((1 + 3 + 3) / 3)


def test_the_most_popular_tenth_takes_a_share_of_the_lists() -> None:
    popularity = np.ones(20, dtype=np.int64)
    popularity[[0, 2, 10]] = 5, 9, 9  # two of twenty are the tenth: rows 2 and 10
    lists = np.array([[2, 0], [10, NO_ITEM], [3, 4]], dtype=np.int32)
    assert popular_share(lists, popularity).value == pytest.approx(2 / 5)
    assert popular_share_of_ratings(popularity) == pytest.approx(18 / (5 + 9 + 9 + 17))
    assert np.isnan(popular_share(np.full((2, 3), NO_ITEM, dtype=np.int32), popularity).value)


def test_intervals_are_those_of_worlds_with_other_people() -> None:
    random = np.random.default_rng(0)
    popularity = np.sort(random.pareto(1.0, 400) * 10 + 1)[::-1].astype(np.int64)
    chance = np.log(popularity)

    def world() -> list[ConfidenceInterval]:
        drawn = np.argsort(-chance - random.gumbel(size=(150, 400)), axis=1)  # by chance, none twice
        lists = drawn[:, :10].astype(np.int32)
        lists[random.random(150) < 0.2, 6:] = NO_ITEM
        return [
            coverage(lists, 400),
            novelty(lists, popularity, int(popularity.max())),
            popular_share(lists, popularity),
        ]

    worlds = [world() for _ in range(100)]
    for figures in zip(*worlds, strict=True):
        truth = np.mean([figure.value for figure in figures])
        inside = np.mean([figure.low <= truth <= figure.high for figure in figures])
        spread = np.std([figure.value for figure in figures])
        half = np.mean([figure.high - figure.value for figure in figures])
        assert inside >= 0.88
        assert 1.6 * spread < half < 3.2 * spread  # 1.96, or wider by the jackknife
