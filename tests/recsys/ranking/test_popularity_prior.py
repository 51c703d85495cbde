"""People of few ratings: what popularity says of them, and how much that is chosen to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.metrics.ranking import pair_matrix
from recsys.models.base import History
from recsys.ranking.als import AlsConfig
from recsys.ranking.popularity_prior import HISTORY_LENGTHS, WEIGHTS, choose_popularity_prior
from recsys.ranking.ranker import MIN_PRIOR_SHARE, Ranker, add_popularity
from recsys.ranking.rating_matrix import popularity, rated_matrix
from tests.benchmarks.fixed_ease import EaseConfig
from tests.benchmarks.fixed_ranker import RankerConfig
from tests.benchmarks.fixed_recipe import select_ranker
from tests.releases import make_cut, make_dataset

PLAIN = RankerConfig(als=AlsConfig(factors=4), ease=EaseConfig(ridge=5.0))


def rated(count: int) -> History:
    return History(np.arange(count, dtype=np.int32), np.full(count, 4.0, dtype=np.float32))


@given(counts=st.lists(st.integers(0, 300), max_size=4), weight=st.floats(0, 8), best=st.floats(-1, 3))
def test_popularity_counts_as_much_as_its_ratings(counts: list[int], weight: float, best: float) -> None:
    prior = np.array([1.0, 0.5, 0.0], dtype=np.float32)
    before = np.tile(np.array([best, best - 1, best - 2], dtype=np.float32), (len(counts), 1))
    scores = before.copy()
    add_popularity(scores, [rated(count) for count in counts], prior, weight)
    for row, was, count in zip(scores, before, counts, strict=True):
        share = weight / max(count, 1)
        more = share * best if share >= MIN_PRIOR_SHARE and best > 0 else 0.0
        np.testing.assert_allclose(row, was + more * prior, atol=1e-4)


def test_a_ranker_tells_newcomers_more_of_what_is_popular() -> None:
    ratings = make_dataset(users=200, items=40, seed=5).ratings
    matrix = rated_matrix(ratings)
    plain = PLAIN.fit(matrix, seed=0, scale=ratings.scale)
    messages = replace(PLAIN, newcomers=2.0).fit(matrix, seed=0, scale=ratings.scale)
    people = [rated(1), rated(4), rated(39)]
    without, scores = plain.scores(people), messages.scores(people)
    for row, was, person in zip(scores, without, people, strict=True):
        np.testing.assert_allclose(
            row, was + 2.0 / len(person.items) * was.max() * popularity(matrix), rtol=1e-5
        )


def test_a_ranker_with_newcomers_opens_as_it_was_saved(tmp_path: Path) -> None:
    ratings = make_dataset(users=60, items=20).ratings
    ranker = replace(PLAIN, newcomers=1.0).fit(rated_matrix(ratings), seed=0, scale=ratings.scale)
    ranker.save(tmp_path / "ranker")
    opened = Ranker.open(tmp_path / "ranker")
    np.testing.assert_array_equal(opened.scores([rated(2)]), ranker.scores([rated(2)]))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_weight_is_the_one_with_the_best_lists_of_people_cut_short(seed: int) -> None:
    dataset = make_dataset(users=300, items=60, seed=5)
    split = make_cut(dataset)
    train, valid = (dataset.ratings.take(split.rows(name)) for name in ("train", "valid"))
    matrix = rated_matrix(train)
    ranker = PLAIN.fit(matrix, seed=0, scale=train.scale)
    users = np.unique(valid.users)
    weight, report = choose_popularity_prior(
        ranker, users, matrix, pair_matrix(valid)[users], seed=seed, scale=train.scale
    )
    figures = report["ndcg_at_10_by_weight"]
    assert set(figures) == set(WEIGHTS)
    assert figures[weight] == max(figures.values())
    assert report["given"] == list(HISTORY_LENGTHS)


def test_the_choice_is_in_the_ranker_and_in_its_report() -> None:
    dataset = make_dataset(users=200, items=40, seed=5)
    split = make_cut(dataset)
    train, valid = (dataset.ratings.take(split.rows(name)) for name in ("train", "valid"))
    selection = select_ranker(train, valid, seed=0, budget=5)
    figures = selection.report()["newcomers"]["ndcg_at_10_by_weight"]
    assert selection.recipe.newcomers == max(figures, key=figures.__getitem__)
    assert selection.on_train.settings.get("newcomers", 0.0) == selection.recipe.newcomers
