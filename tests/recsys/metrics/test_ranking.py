"""Ranking against scikit-learn, a triple loop and hand-worked lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.metrics import ndcg_score

from recsys.data.ratings import Ratings, RatingScale
from recsys.metrics import ranking
from recsys.metrics.ranking import NO_ITEM, evaluate_lists, pair_matrix, rank_all


def by_loop(lists: NDArray[np.int32], relevant: NDArray[np.bool_]) -> dict[str, float]:
    """The definitions, one user, one place, one earlier place at a time."""
    count = lists.shape[1]
    rows: list[tuple[float, float, float, float]] = []
    for user, items in enumerate(lists):
        wanted = set(np.flatnonzero(relevant[user]).tolist())
        if not wanted:
            continue
        hits, gain, average = 0, 0.0, 0.0
        for index, item in enumerate(items.tolist()):
            if item in wanted:
                gain += 1 / np.log2(index + 2)
                hits = sum(1 for earlier in items.tolist()[: index + 1] if earlier in wanted)
                average += hits / (index + 1)
        ideal = sum(1 / np.log2(index + 2) for index in range(min(count, len(wanted))))
        rows.append((hits / count, hits / len(wanted), gain / ideal, average / min(count, len(wanted))))
    means = np.mean(rows, axis=0)
    return dict(zip(("precision", "recall", "ndcg", "map"), means.tolist(), strict=True))


def made(users: int, items: int, *, seed: int) -> tuple[NDArray[np.float32], csr_matrix, csr_matrix]:
    """Scores, seen and relevant pairs (disjoint)."""
    random = np.random.default_rng(seed)
    draw = random.random((users, items))
    scores = random.normal(size=(users, items)).astype(np.float32)
    return scores, csr_matrix(draw < 0.2), csr_matrix((draw > 0.8) & (np.arange(users) % 7 > 0)[:, None])


@settings(deadline=None, max_examples=40)
@given(
    users=st.integers(2, 20), items=st.integers(1, 30), count=st.integers(1, 12), seed=st.integers(0, 10**6)
)
def test_against_a_triple_loop(users: int, items: int, count: int, seed: int) -> None:
    scores, seen, relevant = made(users, items, seed=seed)
    relevant = relevant.toarray()
    relevant[1, 0] = True
    lists = rank_all(lambda rows: scores[rows], np.arange(users), seen, count=count)
    result = evaluate_lists(lists, csr_matrix(relevant))
    expected = by_loop(lists, relevant)
    for name, value in expected.items():
        assert result.by_user[name].mean() == pytest.approx(value, abs=1e-12), name


def test_ndcg_against_scikit_learn() -> None:
    scores, _, relevant = made(200, 300, seed=1)
    lists = rank_all(lambda rows: scores[rows], np.arange(200), csr_matrix((200, 300), dtype=bool))
    result = evaluate_lists(lists, relevant)
    for row, value in zip(result.rows, result.by_user["ndcg"], strict=True):
        truth = relevant[[row]].toarray().astype(float)
        assert value == pytest.approx(ndcg_score(truth, scores[[row]], k=10), abs=1e-6)


def test_lists_are_the_full_sort_without_seen_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "BLOCK_CELLS", 7 * 90)  # several blocks, the last one short
    scores, seen, _ = made(40, 90, seed=2)
    users = np.random.default_rng(3).permutation(40)[:30]
    lists = rank_all(lambda rows: scores[rows], users, seen, count=10)
    for user, items in zip(users, lists, strict=True):
        unseen = np.setdiff1d(np.arange(90), seen[[user]].indices)
        assert items.tolist() == unseen[np.argsort(-scores[user, unseen])][:10].tolist()


def test_short_catalogues_and_nan_leave_places_empty() -> None:
    scores = np.array([[3.0, np.nan, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    seen = csr_matrix(np.array([[0, 0, 0, 1], [1, 1, 1, 1]], dtype=bool))
    lists = rank_all(lambda rows: scores[rows], np.arange(2), seen, count=5)
    assert lists.tolist() == [[0, 2, NO_ITEM, NO_ITEM, NO_ITEM], [NO_ITEM] * 5]
    assert np.isnan(scores[0, 1])  # the scores that were handed in stay as they were


def test_by_hand() -> None:
    lists = np.array([[4, 1, 7], [2, NO_ITEM, NO_ITEM], [0, 1, 2]], dtype=np.int32)
    relevant = np.zeros((3, 8), dtype=bool)
    relevant[0, [4, 7, 5, 6]] = True  # hits at places 1 and 3, of 4
    relevant[1, 3] = True  # missed
    result = evaluate_lists(lists, csr_matrix(relevant))
    assert result.rows.tolist() == [0, 1]  # the third user has nothing to find
    assert result.precision == pytest.approx((2 / 3 + 0) / 2)
    assert result.by_user["recall"].mean() == pytest.approx((2 / 4 + 0) / 2)
    assert result.ndcg == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2) / 2)
    assert result.by_user["map"].mean() == pytest.approx((1 + 2 / 3) / 3 / 2)
    assert result.by_user["mrr"].mean() == pytest.approx((1 + 0) / 2)
    assert result.by_user["hit_rate"].mean() == pytest.approx(1 / 2)
    names = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")
    assert set(result.figures()) == {f"{name}_at_3" for name in names}


def test_relevance_may_have_a_threshold() -> None:
    ratings = Ratings(
        users=np.array([0, 0, 1], dtype=np.int32),
        items=np.array([0, 1, 1], dtype=np.int32),
        values=np.array([5, 3, 4], dtype=np.float32),
        times=None,
        scale=RatingScale(1, 5),
        user_count=2,
        item_count=2,
    )
    assert pair_matrix(ratings).toarray().tolist() == [[True, True], [False, True]]
    assert pair_matrix(ratings, at_least=4).toarray().tolist() == [[True, False], [False, True]]


def test_wrong_shapes_are_named() -> None:
    seen = csr_matrix((2, 3), dtype=bool)
    with pytest.raises(ValueError, match=r"expected scores of shape \(2, 3\), got \(2, 4\)"):
        rank_all(lambda rows: np.zeros((len(rows), 4)), np.arange(2), seen)
    with pytest.raises(ValueError, match="expected a list for each of 2 users, got 1"):
        evaluate_lists(np.zeros((1, 3), dtype=np.int32), seen)
    with pytest.raises(ValueError, match="no user has a relevant item"):
        evaluate_lists(np.zeros((2, 3), dtype=np.int32), seen)


def test_ties_go_to_the_lower_row_also_at_the_end_of_the_list() -> None:
    scores = np.random.default_rng(0).integers(0, 4, size=(60, 90)).astype(np.float32)
    seen = csr_matrix(scores.shape, dtype=bool)
    lists = rank_all(lambda rows: scores[rows], np.arange(60), seen, count=7)
    np.testing.assert_array_equal(lists, np.argsort(-scores, axis=1, kind="stable")[:, :7])
