"""Pruned retrieval gives what scoring every item gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.base import History
from recsys.ranking.ranker import Ranker
from recsys.ranking.retrieval import RetrievalRequest, Retriever

ITEMS, FACTORS = 300, 6


def ranker(seed: int, *, spread: float, prior: bool) -> Ranker:
    """Factors whose lengths fall off by ``spread``; with or without popularity for newcomers."""
    random = np.random.default_rng(seed)
    factors = random.standard_normal((ITEMS, FACTORS)).astype(np.float32)
    factors *= (np.exp(-spread * random.random(ITEMS)))[:, None].astype(np.float32)
    factors[:3] = 0
    arrays = {"factors": factors, "gram": factors.T @ factors}
    settings = {
        "weight": {"typical": 5.0, "damping": 0.0},
        "ridge": {"fixed": 0.5, "per_rating": 0.1},
        "newcomers": 2.0,
    }
    if prior:
        arrays["prior"] = random.random(ITEMS, dtype=np.float32)
    return Ranker("als", settings, arrays)


def history(items: list[int]) -> History:
    return History(np.array(items, dtype=np.int32), np.full(len(items), 4.0, dtype=np.float32))


rows = st.lists(st.integers(0, ITEMS - 1), max_size=20, unique=True)


@given(
    seed=st.integers(0, 50),
    spread=st.sampled_from([0.0, 2.0, 8.0]),
    prior=st.booleans(),
    rated=st.lists(rows.filter(len), min_size=1, max_size=5),
    exclude=rows,
    allowed=st.none() | st.integers(1, ITEMS),
    always_include=rows,
    count=st.sampled_from([1, 10, 60, ITEMS + 5]),
)
@settings(max_examples=200, deadline=None)
def test_pruning_changes_no_list(
    seed: int,
    spread: float,
    prior: bool,
    rated: list[list[int]],
    exclude: list[int],
    allowed: int | None,
    always_include: list[int],
    count: int,
) -> None:
    model = ranker(seed, spread=spread, prior=prior)
    mask = None if allowed is None else np.arange(ITEMS) < allowed
    wishes = [
        RetrievalRequest(
            history=history(items),
            user=None,
            count=count,
            exclude=[np.array(items), np.array(exclude, dtype=np.int64)],
            allowed=mask,
            always_include=np.array(always_include, dtype=np.int64),
        )
        for items in rated
    ]
    whole = Retriever(model, fewest=ITEMS + 1).best(wishes)
    pruned = Retriever(model, fewest=1, long=0.05).best(wishes)
    for entry, other, wish in zip(whole, pruned, wishes, strict=True):
        np.testing.assert_array_equal(entry.items, other.items)
        np.testing.assert_array_equal(entry.scores, other.scores)
        assert len(set(other.items.tolist())) == len(other.items)
        forbidden = set(exclude) | set(wish.history.items.tolist())
        assert not forbidden & set(other.items.tolist())
        plain = model.scores([wish.history])[0]
        np.testing.assert_allclose(plain[other.items], other.scores, atol=1e-5)


def test_where_all_scores_are_equal_both_choose_the_lower_rows() -> None:
    """The case that failed: whole and pruned retrieval chose different rows, so one added row 223."""
    model = ranker(0, spread=0.0, prior=False)
    zero = Ranker(model.family, model.settings, {name: 0 * array for name, array in model.arrays.items()})
    request = RetrievalRequest(
        history=history([0]),
        user=None,
        count=60,
        exclude=[np.array([0])],
        always_include=np.array([223]),
    )
    for entry in (model, zero):
        (whole,) = Retriever(entry, fewest=ITEMS + 1).best([request])
        (pruned,) = Retriever(entry, fewest=1, long=0.05).best([request])
        np.testing.assert_array_equal(whole.items, pruned.items)
        np.testing.assert_array_equal(whole.scores, pruned.scores)
    np.testing.assert_array_equal(pruned.items, [*range(1, 61), 223])


def test_short_items_are_not_search_at() -> None:
    """Of 300 items whose lengths fall off steeply, a list of three needs a few."""
    model = ranker(0, spread=8.0, prior=False)
    retriever = Retriever(model, fewest=1, long=0.05)
    looked: list[int] = []
    sorted_ = retriever._sorted
    assert sorted_ is not None
    original = sorted_._search

    def counted(raw: np.ndarray, *rest: object) -> object:
        looked.append(len(raw))
        return original(raw, *rest)  # type: ignore[arg-type]

    sorted_._search = counted  # type: ignore[method-assign, assignment]
    retriever.best([RetrievalRequest(history([50, 60]), None, count=3)])
    assert 0 < max(looked) < ITEMS // 2


@pytest.mark.parametrize("people", [1, 2, 9])
def test_blocked_products_are_the_products(people: int) -> None:
    from recsys.ranking.ranker import products

    random = np.random.default_rng(0)
    factors = random.standard_normal((9000, 7)).astype(np.float32)
    vectors = random.standard_normal((people, 7)).astype(np.float32)
    out = np.empty((people, 9000), dtype=np.float32)
    products(factors, vectors, out=out)
    np.testing.assert_allclose(out, vectors.astype(np.float64) @ factors.T, atol=1e-4)
