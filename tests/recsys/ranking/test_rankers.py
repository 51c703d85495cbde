"""The contract of every ranker, and each family against an independent computation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.errors import InputError
from recsys.models.base import History
from recsys.ranking.als import UNIT, AlsConfig, fit_als
from recsys.ranking.list_blend import choose_list_blend
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of, rated_matrix, seen_matrix
from recsys.ranking.taste_vectors import item_vectors, right_singular
from tests.benchmarks.fixed_ease import EaseConfig, fit_ease
from tests.benchmarks.fixed_ranker import RankerConfig
from tests.benchmarks.fixed_recipe import block_scores, select_ranker
from tests.releases import make_cut, make_dataset

RECIPES = {
    "popularity": RankerConfig(),
    "als": RankerConfig(als=AlsConfig(factors=8)),
    "ease": RankerConfig(ease=EaseConfig(ridge=5.0)),
    "als+ease": RankerConfig(als=AlsConfig(factors=8), ease=EaseConfig(ridge=5.0), ease_weight=0.5),
}
PERSONAL = [name for name in RECIPES if name != "popularity"]


def checkerboard(users: int = 40, items: int = 20) -> sp.csr_matrix:
    """Even users rate even items, odd users odd ones; some squares are left out."""
    board = (np.arange(users)[:, None] + np.arange(items)) % 2 == 0
    board &= np.random.default_rng(0).random((users, items)) < 0.8
    return sp.csr_matrix(board, dtype=np.float32)


def rows_of(seen: sp.csr_matrix, users: range) -> list[History]:
    return [history_of(seen, user, UNIT) for user in users]


def history(*items: int) -> History:
    return History(np.array(items, dtype=np.int32), np.zeros(len(items), dtype=np.float32))


@pytest.mark.parametrize("name", PERSONAL)
def test_it_learns_a_checkerboard(name: str) -> None:
    seen = checkerboard()
    ranker = RECIPES[name].fit(seen, seed=0)
    scores = ranker.scores(rows_of(seen, range(40)))
    mine = (np.arange(40)[:, None] + np.arange(20)) % 2 == 0
    assert scores[mine].min() > scores[~mine].max()
    assert ranker.folds_in


@pytest.mark.parametrize("name", RECIPES)
def test_saved_and_opened_it_says_the_same(name: str, tmp_path: Path) -> None:
    seen = checkerboard()
    ranker = RECIPES[name].fit(seen, seed=0)
    ranker.save(tmp_path)
    opened = Ranker.open(tmp_path)
    assert (opened.family, opened.settings) == (name, ranker.settings)
    for users in (None, list(range(40))):
        rows = rows_of(seen, range(40))
        np.testing.assert_array_equal(opened.scores(rows, users=users), ranker.scores(rows, users=users))


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_seed_gives_the_same_ranker(name: str) -> None:
    first, second = (RECIPES[name].fit(checkerboard(), seed=3) for _ in range(2))
    for key, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[key])


@pytest.mark.parametrize("name", RECIPES)
def test_a_new_user_with_a_known_users_ratings_gets_their_scores(name: str) -> None:
    seen = checkerboard()
    ranker = RECIPES[name].fit(seen, seed=0)
    rows = rows_of(seen, range(10))
    known = ranker.scores(rows, users=list(range(10)))
    np.testing.assert_allclose(ranker.scores(rows), known, atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_the_order_of_a_history_and_an_empty_one_do_no_harm(name: str) -> None:
    ranker = RECIPES[name].fit(checkerboard(), seed=0)
    both = ranker.scores([history(0, 4, 8), history(8, 0, 4), history()])
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)
    assert np.isfinite(both[2]).all()
    assert np.isfinite(ranker.support(np.array([0, 4, 8]), 2)).all()


def test_plain_ease_is_a_ridge_regression_an_item() -> None:
    """Each column by an ordinary ridge regression that may not use the item itself."""
    seen = checkerboard()
    wide = seen.toarray().astype(np.float64)
    weights = fit_ease(seen, EaseConfig(ridge=3.0, user_damping=0.0, dropout=0.0)).arrays["weights"]
    for item in range(20):
        others = np.delete(np.arange(20), item)
        left = wide[:, others].T @ wide[:, others] + 3.0 * np.eye(19)
        expected = np.linalg.solve(left, wide[:, others].T @ wide[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-4)
        assert weights[item, item] == 0


def als_loss(seen: np.ndarray, users: np.ndarray, items: np.ndarray, config: AlsConfig) -> float:
    """The whole objective, term by term, over every pair."""
    lengths = seen.sum(axis=1)
    pull = (np.maximum(lengths, 1) / lengths.mean()) ** -config.user_damping
    scores = users @ items.T
    fit = (pull[:, None] * seen * (1 - scores) ** 2).sum() + config.unobserved * (scores**2).sum()
    weights = pull[:, None] * seen
    for vectors, weight, others in (
        (users, weights.sum(axis=1), len(items)),
        (items, weights.sum(axis=0), len(users)),
    ):
        ridge = config.ridge * (weight + config.unobserved * others)
        fit += (ridge * np.square(vectors).sum(axis=1)).sum()
    return float(fit)


def test_no_step_from_an_als_solution_lowers_its_objective() -> None:
    seen = checkerboard()
    config = AlsConfig(factors=3, unobserved=0.2, ridge=0.05, user_damping=0.3, rounds=60)
    ranker = fit_als(seen, config, seed=0)
    users, items = (ranker.arrays[name].astype(np.float64) for name in ("users", "factors"))
    wide = seen.toarray().astype(np.float64)
    best = als_loss(wide, users, items, config)
    random = np.random.default_rng(1)
    for _ in range(50):
        by_user = als_loss(wide, users + 0.01 * random.normal(size=users.shape), items, config)
        by_item = als_loss(wide, users, items + 0.01 * random.normal(size=items.shape), config)
        assert min(by_user, by_item) > best - 1e-6


def test_unequal_histories_are_solved_as_one_by_one() -> None:
    random = np.random.default_rng(0)
    board = random.random((60, 30)) < random.random((60, 1))
    board[7] = False
    seen = sp.csr_matrix(board * (1 + random.random((60, 30))), dtype=np.float32)  # stars differ
    ranker = fit_als(seen, AlsConfig(factors=4, rounds=2), seed=0)
    solved = ranker.user_factors(rows_of(seen, range(60)))
    np.testing.assert_allclose(ranker.arrays["users"], solved, atol=1e-5)
    assert not ranker.arrays["users"][7].any()


def test_ease_refuses_what_does_not_fit_in_memory() -> None:
    with pytest.raises(InputError, match="als ranks any number"):
        fit_ease(sp.csr_matrix((3, 84_432), dtype=np.float32), EaseConfig())


def test_arrays_that_make_no_ranker_are_refused() -> None:
    with pytest.raises(InputError, match="a ranker of arrays"):
        Ranker("als", {}, {"factors": np.zeros((3, 2), dtype=np.float32)})


def test_singular_vectors_are_those_of_a_full_decomposition() -> None:
    matrix = sp.random(50, 30, density=0.4, random_state=0, format="csr", dtype=np.float32)
    values, right = right_singular(matrix, 5, seed=0, rounds=30)
    _, expected, rows = np.linalg.svd(matrix.toarray())
    np.testing.assert_allclose(values, expected[:5], rtol=1e-3)
    np.testing.assert_allclose(np.abs((rows[:5] @ right).diagonal()), 1, atol=1e-2)


def test_items_rated_by_the_same_people_are_alike() -> None:
    vectors = item_vectors(checkerboard(200, 20))
    cosines = vectors @ vectors.T
    same = (np.arange(20)[:, None] + np.arange(20)) % 2 == 0
    assert cosines[same].min() > cosines[~same].max()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_ranker_is_chosen_by_its_lists_on_valid() -> None:
    dataset = make_dataset(users=200, items=40, seed=5)
    split = make_cut(dataset)
    train, valid = (dataset.ratings.take(split.rows(name)) for name in ("train", "valid"))
    lines: list[str] = []
    selection = select_ranker(train, valid, seed=0, budget=5, progress=lines.append)
    report = selection.report()
    best = max(report["tried"], key=lambda entry: entry["ndcg_at_10"])
    assert report["recipe"] | {"newcomers": 0.0} == best["recipe"]
    assert len(lines) == len(report["tried"])
    again = select_ranker(train, valid, seed=0, budget=5)
    assert again.recipe == selection.recipe
    ranker = selection.fit(train, seed=0)
    np.testing.assert_allclose(
        block_scores(ranker, np.arange(5), rated_matrix(train)),
        block_scores(selection.on_train, np.arange(5), rated_matrix(train)),
        atol=1e-5,
    )


def test_with_nothing_to_judge_by_the_starting_values_are_taken() -> None:
    train = make_dataset().ratings
    selection = select_ranker(train, train.take(np.empty(0, dtype=np.int64)), seed=0)
    assert selection.recipe == RankerConfig(als=AlsConfig())


def test_stars_come_into_lists_only_where_they_help() -> None:
    dataset = make_dataset(users=200, items=40, seed=5)
    split = make_cut(dataset)
    train, valid = (dataset.ratings.take(split.rows(name)) for name in ("train", "valid"))
    ranker = RankerConfig(als=AlsConfig(factors=4)).fit(rated_matrix(train), seed=0, scale=train.scale)
    random = np.random.default_rng(0)
    noise = choose_list_blend(ranker, lambda user, items: 5 * random.random(len(items)), train, valid, seed=0)
    assert noise.rating_weight == 0
    wanted = seen_matrix(valid)
    messages = choose_list_blend(
        ranker, lambda user, items: 0.5 + 4.5 * wanted[user].toarray()[0][items], train, valid, seed=0
    )
    assert messages.rating_weight > 0
    figures = messages.report["ndcg_at_10_by_rating_weight"]
    assert figures[str(messages.rating_weight)] == max(figures.values())


def test_a_ridge_too_small_is_told() -> None:
    seen = sp.csr_matrix(np.ones((5, 4), dtype=np.float32))
    with pytest.raises(InputError, match="raise the ridge"):
        fit_ease(seen, replace(EaseConfig(), ridge=0.0, dropout=0.0))
