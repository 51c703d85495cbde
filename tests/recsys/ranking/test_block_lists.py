"""Lists by blocks against the full sort, against the retriever that serves, and on a played card."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recsys.metrics.ranking import NO_ITEM, best_of
from recsys.models.base import History
from recsys.ranking.block_lists import BlockLists, first_columns
from recsys.ranking.ranker import Ranker
from recsys.ranking.retrieval import RetrievalRequest, Retriever
from tests.recsys.models.played_device import CARD, DeviceWatch

PEOPLE, ITEMS, WIDTH = 70, 1500, 6
WEIGHT = {"typical": 20.0, "damping": 0.3}
SETTINGS = {"weight": WEIGHT, "ridge": {"fixed": 0.5, "per_rating": 0.1}, "newcomers": 2.0}


def made_histories() -> list[History]:
    random = np.random.default_rng(1)
    sizes = random.integers(0, 30, PEOPLE)
    items = [np.sort(random.choice(ITEMS, size, replace=False)).astype(np.int32) for size in sizes]
    return [History(rows, np.full(len(rows), 4, dtype=np.float32)) for rows in items]


def made_ranker(*parts: str) -> Ranker:
    random = np.random.default_rng(2)
    factors = random.normal(size=(ITEMS, WIDTH)).astype(np.float32)
    factors[700:800] = factors[:100]  # equal scores: the lower row comes first
    ends = np.concatenate([[0], np.cumsum(random.integers(0, 40, ITEMS))])
    arrays: dict[str, dict[str, NDArray[np.generic]]] = {
        "factors": {
            "factors": factors,
            "gram": factors.T @ factors,
            "users": random.normal(size=(PEOPLE, WIDTH)).astype(np.float32),
        },
        "weights": {"weights": random.integers(-3, 4, (ITEMS, ITEMS)).astype(np.float32)},
        "links": {
            "links_ends": ends,
            "links_items": random.integers(0, ITEMS, ends[-1]).astype(np.int32),
            "links_values": random.integers(1, 5, ends[-1]).astype(np.float32),
        },
        "base": {"base": random.integers(0, 3, ITEMS).astype(np.float32)},
        "prior": {"prior": random.random(ITEMS).astype(np.float32)},
    }
    together = {name: array for part in parts for name, array in arrays[part].items()}
    return Ranker("made", SETTINGS, together)


@pytest.mark.parametrize("columns", [1, 5, 31, 64, 900, 2003])
def test_equal_scores_are_listed_by_rising_column(columns: int) -> None:
    random = np.random.default_rng(columns)
    scores = random.integers(-3, 4, (30, columns)).astype(np.float32)
    scores[::3, ::2] *= -0.0
    scores[random.random(scores.shape) < 0.3] = -np.inf
    scores[5] = -np.inf
    scores[6] = np.arange(columns) + 0.5
    expected = best_of(scores, 7)
    assert np.array_equal(first_columns(torch.from_numpy(scores.copy()), 7).numpy(), expected)


@pytest.mark.parametrize(
    "parts",
    [
        ("factors",),
        ("factors", "prior"),
        ("weights", "prior"),
        ("links",),
        ("links", "base"),
        ("factors", "weights", "links", "prior"),
        ("prior",),
    ],
)
def test_lists_are_those_that_are_served(parts: tuple[str, ...]) -> None:
    ranker, histories = made_ranker(*parts), made_histories()
    users = [None if user % 3 == 0 else user for user in range(PEOPLE)]
    requests = [
        RetrievalRequest(history, user, 10, exclude=[history.items])
        for history, user in zip(histories, users, strict=True)
    ]
    lists = BlockLists(ranker, torch.device("cpu")).best(histories, users, count=10)
    served = Retriever(ranker).best(requests)
    assert np.array_equal(lists, np.stack([entry.items for entry in served]))


def test_who_has_seen_nearly_all_gets_a_short_list() -> None:
    history = History(np.arange(3, ITEMS, dtype=np.int32), np.ones(ITEMS - 3, dtype=np.float32))
    (listed,) = BlockLists(made_ranker("factors"), torch.device("cpu")).best([history], [4], count=5)
    assert sorted(listed[:3]) == [0, 1, 2]
    assert listed[3:].tolist() == [NO_ITEM, NO_ITEM]


@pytest.mark.parametrize("parts", [("factors", "prior"), ("weights",), ("links", "base")])
def test_a_card_is_not_waited_for(parts: tuple[str, ...]) -> None:
    blocks = BlockLists(made_ranker(*parts), CARD)
    with DeviceWatch() as watch:
        lists = blocks.block(made_histories(), list(range(PEOPLE)), count=10)
    assert (lists.shape, lists.device.type, lists.dtype) == ((PEOPLE, 10), CARD.type, torch.int32)
    assert watch.downloads == 0
    assert sum(watch.kernels.values()) <= 60
