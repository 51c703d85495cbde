"""Every id that a release holds is reachable by every route; a query string's lists mean what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from tests.releases import make_dataset, make_release
from tests.serving.running import Running, running

USERS = [
    "a/b",
    "/",
    "x/recommendations",
    "c d",
    "50%",
    "é\u2028ü",
    "q?x=1&y",
    "#1",
    "tab\there",
    "line\nfeed",
    "n" * 300,
    "+1",
]
ITEMS = ["i,2", "s/1", "i/similar", "i/history", "100%", "m" * 200, "a&b=c", "new\nline"]
GENRE = "War, Peace"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("odd")
    made = make_dataset(seed=3)
    users, items = made.user_ids.astype(object), made.catalogue.ids.astype(object)
    users[: len(USERS)], items[: len(ITEMS)] = USERS, ITEMS
    genres = [(GENRE,) if row % 4 == 0 else names for row, names in enumerate(made.catalogue.genres)]
    catalogue = replace(made.catalogue, ids=items.astype(np.str_), genres=genres)
    release = make_release(
        folder / "release", seed=3, dataset=replace(made, user_ids=users.astype(np.str_), catalogue=catalogue)
    )
    with running(folder, {"a": release}) as entry:
        yield entry


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


@pytest.mark.parametrize("user", USERS)
def test_a_user_in_path_query_and_body(odd: Running, user: str) -> None:
    lists = [
        odd.client.get("/v1/recommendations", params={"user_id": user}),
        odd.client.post("/v1/recommendations", json={"user_id": user}),
    ]
    lists.append(odd.client.get(f"/v1/users/{quote(user, safe='')}/recommendations"))
    for answer in lists:
        assert answer.status_code == 200, answer.text
        assert answer.json()["user_id"] == user
        assert answer.json()["source"] == "personal"
    assert len({tuple(ids(answer.json())) for answer in lists}) == 1
    stars = [
        odd.client.get("/v1/predictions", params={"user_id": user, "items": ITEMS}),
        odd.client.get(f"/v1/users/{quote(user, safe='')}/predictions", params={"items": ITEMS}),
    ]
    assert [pair["id"] for pair in stars[0].json()["predictions"]] == ITEMS
    assert stars[0].json() == stars[1].json()
    event = {"event_id": f"e-{user}", "kind": "rating", "user_id": user, "item_id": ITEMS[0], "rating": 3}
    assert odd.client.post("/v1/feedback", json={"events": [event]}).status_code == 200


@pytest.mark.parametrize("item", ITEMS)
def test_an_item_in_path_and_query(odd: Running, item: str) -> None:
    by_query = odd.client.get("/v1/similar", params={"item_id": item})
    assert by_query.status_code == 200, by_query.text
    by_path = odd.client.get(f"/v1/items/{quote(item, safe='')}/similar")
    assert ids(by_path.json()) == ids(by_query.json())
    assert odd.client.get("/v1/item", params={"item_id": item}).json()["id"] == item


def test_excluded_items_by_repetition_by_commas_and_with_a_comma(odd: Running) -> None:
    first = odd.list("nobody", count=30)
    assert "i,2" in ids(first)
    assert "i,2" not in ids(odd.list("nobody", count=30, exclude="i,2"))
    both = odd.list("nobody", count=30, exclude=["i,2", "100%"])
    assert not {"i,2", "100%"} & set(ids(both))
    assert "unknown_items" not in both
    listed = odd.list("nobody", count=30, exclude="i20,i21, i22")
    assert not {"i20", "i21", "i22"} & set(ids(listed))
    unknown = odd.list("nobody", exclude=["i20,ghost", "ghost", "no,such"])
    assert unknown["unknown_items"] == ["ghost", "no", "such"]
    body = {"user_id": "nobody", "exclude": ["ghost", "i,2"], "ratings": [{"item_id": "spirit", "rating": 3}]}
    assert odd.client.post("/v1/recommendations", json=body).json()["unknown_items"] == ["spirit", "ghost"]


def test_a_genre_with_a_comma(odd: Running) -> None:
    for asked in (GENRE, [GENRE, "Drama"]):
        answer = odd.list("nobody", count=30, genres=asked)
        wanted = {GENRE} if asked == GENRE else {GENRE, "Drama"}
        assert answer["items"]
        assert all(wanted & set(item["genres"]) for item in answer["items"])
    assert odd.client.get("/v1/popular", params={"genre": GENRE}).status_code == 200
