"""Items that nobody has rated: regression on features by independent computations; releases with them."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.data.ratings import Ratings, RatingScale
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.new_items import (
    FEW,
    TRUST,
    fit_feature_map,
    vectors_with_new_items,
    with_constant,
    with_new_items,
)
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import history_of
from recsys.ranking.taste_vectors import item_vectors

USERS, ITEMS, NEW = 60, 48, (3, 17, 30, 41)


def checkerboard(ratings_of_new: int = 0) -> ListData:
    """Even users rate even items, odd ones odd items; the new items have few ratings or none."""
    random = np.random.default_rng(0)
    board = (np.arange(USERS)[:, None] + np.arange(ITEMS)) % 2 == 0
    board &= random.random((USERS, ITEMS)) < 0.7
    for item in NEW:
        raters = np.flatnonzero(board[:, item])
        board[raters[ratings_of_new:], item] = False
    users, items = (rows.astype(np.int32) for rows in np.nonzero(board))
    values = random.integers(1, 6, len(users)).astype(np.float32)
    ratings = Ratings(users, items, values, None, RatingScale(1, 5), USERS, ITEMS)
    noise = random.normal(size=(ITEMS, 3))
    features = np.column_stack([np.arange(ITEMS) % 2, noise]).astype(np.float32)
    return ListData(ratings, features)


def counts_of(data: ListData) -> np.ndarray:
    return np.bincount(data.ratings.items, minlength=ITEMS)


def test_the_leave_one_out_error_is_that_of_refitting() -> None:
    random = np.random.default_rng(1)
    features, counts = random.normal(size=(30, 4)), random.integers(1, 40, 30)
    vectors = features @ random.normal(size=(4, 2)) + random.normal(size=(30, 2))
    learned = fit_feature_map(features, counts, vectors)
    inputs, weights = with_constant(features), counts / (counts + FEW)
    squares = np.linalg.eigvalsh((inputs * weights[:, None]).T @ inputs)
    penalty = learned.ridge * squares.mean() * np.eye(5)
    missed = 0.0
    for left_out in range(30):
        kept = np.arange(30) != left_out
        weighted = inputs[kept] * weights[kept, None]
        messages = inputs[left_out] @ np.linalg.solve(
            weighted.T @ inputs[kept] + penalty, weighted.T @ vectors[kept]
        )
        missed += weights[left_out] * np.square(vectors[left_out] - messages).sum()
    centred = vectors - np.average(vectors, axis=0, weights=weights)
    total = (weights[:, None] * np.square(centred)).sum()
    assert learned.explained == pytest.approx(1 - missed / total, rel=1e-6)
    assert 0.5 < learned.explained < 1


@pytest.mark.parametrize("name", ["als", "ease", "edlae", "item_neighbours", "random_walk", "spectral"])
def test_every_family_lists_new_items_to_those_who_like_their_features(name: str) -> None:
    data = checkerboard()
    family = LIST_FAMILIES[name]
    ranker = family.fit(data, family.usable(family.starts[0], data), seed=0)
    assert data.item_features is not None
    messages = with_new_items(
        ranker, features=data.item_features, counts=counts_of(data), vectors=item_vectors(data.seen)
    )
    assert set(messages.arrays) == set(ranker.arrays)
    histories = [history_of(data.rated, user, data.ratings.scale) for user in range(USERS)]
    new = np.array(NEW)
    scores = messages.scores(histories)[:, new]
    fits = (np.arange(USERS)[:, None] + new) % 2 == 0
    assert scores[fits].mean() > 2 * max(scores[~fits].mean(), 0) + 1e-6
    for user in range(USERS):
        assert scores[user][fits[user]].min() > scores[user][~fits[user]].max()


def test_own_ratings_take_over_as_they_come_in() -> None:
    data = checkerboard(ratings_of_new=6)
    features, counts = data.item_features, counts_of(data)
    assert features is not None
    assert counts[list(NEW)].tolist() == [6] * 4
    family = LIST_FAMILIES["ease"]
    ranker = family.fit(data, family.starts[0], seed=0)
    vectors = item_vectors(data.seen)
    messages = with_new_items(ranker, features=features, counts=counts, vectors=vectors)
    learned = fit_feature_map(features, counts, vectors)
    mapped = with_constant(features) @ learned.coefficients(ranker.arrays["weights"].T[learned.items])
    share = TRUST / (counts[3] + TRUST)
    expected = (1 - share) * ranker.arrays["weights"][:, 3] + share * mapped[3]
    assert np.allclose(messages.arrays["weights"][:, 3], expected, atol=1e-5)
    plain = with_new_items(
        Ranker("base", {}, {"base": np.arange(ITEMS, dtype=np.float32)}),
        features=features,
        counts=np.full(ITEMS, 10_000),
        vectors=vectors,
    )
    assert plain.arrays["base"].tolist() == list(range(ITEMS))  # well known items keep their own


def test_vectors_of_new_items_point_where_their_likes_do() -> None:
    data = checkerboard()
    assert data.item_features is not None
    vectors = vectors_with_new_items(
        item_vectors(data.seen), features=data.item_features, counts=counts_of(data)
    )
    alike = vectors @ vectors[17]
    rated = np.setdiff1d(np.arange(ITEMS), NEW)
    assert alike[rated[rated % 2 == 1]].min() > alike[rated[rated % 2 == 0]].max()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
