"""The contract of every list family, each also against an independent computation."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from recsys.bounds import DataShape
from recsys.data.ratings import Ratings, RatingScale
from recsys.models.base import History
from recsys.models.ranges import Categorical
from recsys.ranking.als import AlsConfig
from recsys.ranking.hybrid_vae_lists import HybridVaeListsConfig
from recsys.ranking.item_regression import EaseTrialConfig, EdlaeConfig, fit_item_regression
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_sum import sum_rankers, with_prior
from recsys.ranking.rating_matrix import history_of
from recsys.ranking.spectral import SpectralConfig, fit_spectral
from search.config.tracks import search_family
from search.sampling.search_space import Space

USERS, ITEMS = 40, 20
SMALL: dict[str, Any] = {
    "als": AlsConfig(factors=8),
    "ease": EaseTrialConfig(ridge=5.0, dropout=0.3),
    "edlae": EdlaeConfig(ridge=5.0, dropout=0.3, closeness=0.5),
    "spectral": SpectralConfig(factors=4),
    "hybrid_vae_lists": HybridVaeListsConfig(latent=8, hidden=8, epochs=3),
}
PERSONAL = [name for name in LIST_FAMILIES if name != "popularity"]


def config_of(name: str) -> Any:
    return SMALL.get(name, LIST_FAMILIES[name].starts[0])


def ratings_of(users: np.ndarray, items: np.ndarray, *, times: np.ndarray | None = None) -> Ratings:
    values = np.random.default_rng(1).integers(1, 6, size=len(users)).astype(np.float32)
    return Ratings(
        users.astype(np.int32), items.astype(np.int32), values, times, RatingScale(1, 5), USERS, ITEMS
    )


def checkerboard(*, times: bool = True) -> ListData:
    """Even users rate even items, odd users odd ones; some squares are left out."""
    random = np.random.default_rng(0)
    board = (np.arange(USERS)[:, None] + np.arange(ITEMS)) % 2 == 0
    board &= random.random((USERS, ITEMS)) < 0.8
    users, items = np.nonzero(board)
    moments = random.integers(0, 5_000, size=len(users)) if times else None
    features = np.eye(2, dtype=np.float32)[np.arange(ITEMS) % 2]
    return ListData(ratings_of(users, items, times=moments), features)


def histories(data: ListData) -> list[History]:
    return [history_of(data.rated, user, data.ratings.scale) for user in range(USERS)]


@pytest.mark.parametrize("name", PERSONAL)
def test_it_learns_a_checkerboard(name: str) -> None:
    data = checkerboard()
    ranker = LIST_FAMILIES[name].fit(data, config_of(name), seed=0)
    scores = ranker.scores(histories(data))
    mine = (np.arange(USERS)[:, None] + np.arange(ITEMS)) % 2 == 0
    assert scores[mine].min() > scores[~mine].max()
    assert ranker.folds_in


@pytest.mark.parametrize("name", LIST_FAMILIES)
def test_saved_and_opened_it_scores_the_same(name: str, tmp_path: Path) -> None:
    data = checkerboard()
    ranker = LIST_FAMILIES[name].fit(data, config_of(name), seed=0)
    ranker.save(tmp_path / "ranker")
    opened = Ranker.open(tmp_path / "ranker")
    assert opened.item_count == ITEMS
    np.testing.assert_array_equal(ranker.scores(histories(data)), opened.scores(histories(data)))


@pytest.mark.parametrize("name", LIST_FAMILIES)
def test_the_same_seed_gives_the_same_ranker(name: str) -> None:
    entry, other = (LIST_FAMILIES[name].fit(checkerboard(), config_of(name), seed=3) for _ in range(2))
    assert entry.arrays.keys() == other.arrays.keys()
    for array, again in zip(entry.arrays.values(), other.arrays.values(), strict=True):
        np.testing.assert_array_equal(array, again)


@pytest.mark.parametrize(
    "name", [name for name in LIST_FAMILIES if name != "hybrid_vae_lists"]
)  # draws by row
def test_rows_without_a_rating_change_no_score(name: str) -> None:
    """People who only have a row, and items that nobody has rated: a catalogue's, or a sample's."""
    data = checkerboard()
    more, features = (
        replace(data.ratings, user_count=3 * USERS, item_count=4 * ITEMS),
        np.zeros((4 * ITEMS, 2)),
    )
    features[:ITEMS] = data.item_features
    wider = ListData(more, features.astype(np.float32))
    entry, other = (LIST_FAMILIES[name].fit(part, config_of(name), seed=0) for part in (data, wider))
    scores, again = (ranker.scores(histories(data)) for ranker in (entry, other))
    np.testing.assert_allclose(again[:, :ITEMS], scores, atol=1e-4)


@pytest.mark.parametrize("name", LIST_FAMILIES)
def test_a_person_with_no_rating_and_an_item_with_none_get_finite_scores(name: str) -> None:
    users, items = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
    data = ListData(ratings_of(users, items, times=np.arange(24)))
    config = LIST_FAMILIES[name].usable(config_of(name), data)
    ranker = LIST_FAMILIES[name].fit(data, config, seed=0)
    nobody = History(np.empty(0, np.int32), np.empty(0, np.float32))
    scores = ranker.scores([nobody, History(np.array([19], np.int32), np.array([3.0], np.float32))])
    assert scores.shape == (2, ITEMS)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", LIST_FAMILIES)
@pytest.mark.parametrize("times", [True, False])
def test_every_drawn_config_lies_in_the_ranges_and_fits(name: str, times: bool) -> None:
    family, data = LIST_FAMILIES[name], checkerboard(times=times)
    space = Space(name, DataShape(USERS, ITEMS), fixed=family.forced_off(data))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(10):
        config = search_family(name).config(space.draw(study.ask()))
        for field, spec in space.ranges.items():
            value = getattr(config, field)
            if isinstance(spec, Categorical):
                assert value in spec.options.values()
            else:
                assert spec.low <= value <= spec.high
        if not times:
            assert all(getattr(config, field) == 0 for field in family.needs_times)
    assert family.usable(config, data) == config
    assert np.isfinite(family.fit(data, config, seed=0).scores(histories(data)[:2])).all()


@pytest.mark.parametrize("name", LIST_FAMILIES)
def test_ranges_and_starts_are_fields_of_the_config(name: str) -> None:
    family = LIST_FAMILIES[name]
    names = {field.name for field in fields(family.config_type)}
    assert set(family.ranges) <= names
    assert {*family.needs_times, *family.needs_features} <= names
    assert all(type(start) is family.config_type for start in family.starts)


def test_a_large_catalogue_has_sparse_weights_that_are_ease_among_the_head() -> None:
    """Beyond ``dense_items`` the most rated items are the regressors; among them EASE is exact."""
    data, config = checkerboard(), EaseTrialConfig(ridge=5.0, user_damping=0.0, dropout=0.3)
    ranker = fit_item_regression(data, config, seed=0, dense_items=12)
    weights = ranker.links.toarray()
    counts = np.bincount(data.ratings.items, minlength=ITEMS)
    head = np.sort(np.argsort(-counts, kind="stable")[:12])
    seen = data.seen.toarray().astype(np.float64)
    gram = seen[:, head].T @ seen[:, head]
    gram += np.diag(np.diag(gram) * 0.3 / 0.7 + 5.0)
    inverse = np.linalg.inv(gram)
    expected = inverse / -np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(weights[np.ix_(head, head)], expected, atol=1e-5)
    tail = np.setdiff1d(np.arange(ITEMS), head)
    np.testing.assert_allclose(
        weights[np.ix_(head, tail)], inverse @ seen[:, head].T @ seen[:, tail], atol=1e-5
    )
    assert not weights[tail].any()


def test_the_low_rank_form_of_full_rank_is_ridge_regression_on_itself() -> None:
    data = checkerboard()
    config = SpectralConfig(factors=ITEMS, ridge=0.5, scaling=0.3, user_damping=0.4, liking=0.7)
    scores = fit_spectral(data, config, seed=0).scores(histories(data))
    rated = data.rated.toarray().astype(np.float64)
    lengths = (rated > 0).sum(axis=1)
    weighted = np.where(rated > 0, (rated / rated[rated > 0].mean()) ** 0.7, 0)
    weighted *= ((lengths / lengths.mean()) ** -0.4)[:, None]
    scaled = weighted * (rated > 0).sum(axis=0) ** -0.3
    gram = scaled.T @ scaled
    squares = np.sort(np.linalg.eigvalsh(gram))[::-1][: ITEMS - 1]  # one singular vector fewer than items
    ridge = 0.5 * squares.mean()
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[1:], vectors[:, 1:]
    expected = weighted @ ((vectors * (values / (values + ridge))) @ vectors.T)
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_closeness_in_time_against_a_triple_loop() -> None:
    data = checkerboard()
    config = EdlaeConfig(ridge=4.0, user_damping=0.0, dropout=0.0, closeness=0.6, minutes=7.0, features=2.0)
    ratings = data.ratings
    assert ratings.times is not None
    assert data.item_features is not None
    gram = np.zeros((ITEMS, ITEMS))
    for user in range(USERS):
        rows = np.flatnonzero(ratings.users == user)
        for i in rows:
            for j in rows:
                apart = abs(ratings.times[i] - ratings.times[j]) / (60 * 7.0)
                gram[ratings.items[i], ratings.items[j]] += 0.4 + 0.6 * np.exp(-apart)
    inverse = np.linalg.inv(gram + 2.0 * data.item_features @ data.item_features.T + 4.0 * np.eye(ITEMS))
    expected = inverse / -np.diag(inverse)
    np.fill_diagonal(expected, 0)
    weights = fit_item_regression(data, config, seed=0).arrays["weights"]
    np.testing.assert_allclose(weights, expected, atol=1e-4)


def test_pages_are_runs_of_a_users_ratings_with_short_gaps() -> None:
    users = np.array([0, 0, 0, 0, 1, 1])
    items = np.array([3, 1, 2, 5, 7, 8])
    times = np.array([0, 100, 400, 500, 500, 10_000])
    pages = ListData(ratings_of(users, items, times=times)).pages
    assert [sorted(row.indices.tolist()) for row in (pages[0], pages[1])] == [[1, 3], [2, 5]]
    assert pages.shape == (2, ITEMS)


def test_a_sum_scores_the_weighted_sum_of_its_parts_for_known_and_new_people() -> None:
    data = checkerboard()
    weights = {"als": 0.7, "edlae": 1.3, "item_neighbours": 0.4, "random_walk": 0.2}
    weights |= {"spectral": 0.6, "popularity": 0.1}
    parts = [(LIST_FAMILIES[name].fit(data, config_of(name), seed=0), w) for name, w in weights.items()]
    parts.append((LIST_FAMILIES["als"].fit(data, AlsConfig(factors=5, ridge=0.1), seed=1), 0.5))
    for chosen in (parts, [parts[0], parts[-1]], parts[2:4]):  # all forms, factors alone, sparse alone
        blend = sum_rankers(chosen, family="blend")
        for users in (None, list(range(USERS))):
            expected = sum(weight * ranker.scores(histories(data), users=users) for ranker, weight in chosen)
            np.testing.assert_allclose(blend.scores(histories(data), users=users), expected, atol=1e-4)
    assert sum_rankers([parts[0], parts[-1]], family="als").scores_by_factors
    both = [parts[0], next(part for part in parts if part[0].family == "spectral")]
    assert sum_rankers(both, family="both").scores_by_factors
    with pytest.raises(ValueError, match="no rankers"):
        sum_rankers([], family="none")


def test_what_speaks_for_an_item_adds_up_over_sparse_and_dense_parts() -> None:
    data = checkerboard()
    ease = LIST_FAMILIES["ease"].fit(data, config_of("ease"), seed=0)
    near = LIST_FAMILIES["item_neighbours"].fit(data, config_of("item_neighbours"), seed=0)
    history = np.array([0, 2, 4])
    both = sum_rankers([(ease, 1.0), (near, 2.0)], family="both")
    np.testing.assert_allclose(
        both.support(history, 6), ease.support(history, 6) + 2 * near.support(history, 6), atol=1e-6
    )


def test_a_prior_is_added_only_where_the_ranker_knows_people() -> None:
    data = checkerboard()
    prior = {"prior": np.linspace(0, 1, ITEMS, dtype=np.float32)}
    als = LIST_FAMILIES["als"].fit(data, config_of("als"), seed=0)
    assert with_prior(als, prior, 2.0).settings["newcomers"] == 2.0
    assert with_prior(als, prior, 0.0) is als
    floor = LIST_FAMILIES["popularity"].fit(data, config_of("popularity"), seed=0)
    assert with_prior(floor, prior, 2.0) is floor


def test_popularity_halves_with_every_half_life() -> None:
    day = 86_400
    data = ListData(ratings_of(np.array([0, 1, 2]), np.array([1, 1, 2]), times=np.array([0, 0, 10 * day])))
    config = replace(config_of("popularity"), half_life_days=10.0)
    base = LIST_FAMILIES["popularity"].fit(data, config, seed=0).arrays["base"]
    np.testing.assert_allclose(base[[1, 2, 3]], [1.0, 1.0, 0.0])
