"""Items added, changed and hidden over HTTP: at once in every list, audited, kept by releases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.release.queries import Query
from serving.catalogue.rule_set import RuleSet
from serving.engine.list_precomputation import lists_folder, precompute
from serving.engine.served_release import ServedRelease
from serving.engine.unreleased_items import NO_MAP
from serving.events.item_log import newest_items
from tests.serving.running import AS_ADMIN, Running, running
from tests.waiting import wait_for

USERS = [f"u{row}" for row in range(0, 60, 6)]


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path, admin_token: str) -> Iterator[Running]:
    with running(tmp_path, {"a": releases["a"]}) as entry:
        yield entry


def change(made: Running, method: str, item: str, **body: Any) -> dict[str, Any]:
    answer = made.client.request(method, f"/v1/items/{item}", json=body, headers=AS_ADMIN)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def hide(made: Running, item: str, **query: Any) -> None:
    answer = made.client.delete(f"/v1/items/{item}", params=query, headers=AS_ADMIN)
    assert answer.status_code == 200, answer.text


def everywhere(made: Running) -> set[str]:
    """The ids in every kind of list that anybody can be shown."""
    lists = [made.list(user, count=100)["items"] for user in (*USERS, "nobody")]
    lists += [made.list(user, count=100, genres="Drama,Comedy")["items"] for user in USERS[:2]]
    lists += [made.list(user, count=100, include_seen=True)["items"] for user in USERS[:2]]
    session = {"ratings": [{"item_id": "i3", "rating": 4}], "count": 100}
    lists.append(made.client.post("/v1/recommendations", json=session).json()["items"])
    for path in ("popular?count=100", "popular?count=100&trending=true", "similar?item_id=i3&count=100"):
        lists.append(made.client.get(f"/v1/{path}").json()["items"])
    lists.append(made.client.get("/v1/items?title=film&count=100").json()["items"])
    return {item["id"] for items in lists for item in items}


def test_a_hidden_item_is_in_no_list_at_once_and_comes_back(made: Running) -> None:
    listed = made.list("u1")["items"]
    best, second = listed[0]["id"], listed[1]["id"]
    assert {best, second} <= everywhere(made)
    hide(made, best, actor="ann", reason="licence ended")
    assert best not in everywhere(made)
    assert second in everywhere(made)
    assert made.client.get(f"/v1/items/{best}").status_code == 404
    change(made, "PATCH", best, hidden=False)
    assert best in everywhere(made)
    assert [item["id"] for item in made.list("u1")["items"]] == [item["id"] for item in listed]


def test_a_hidden_item_is_in_no_list_that_was_made_before(
    releases: dict[str, Path], tmp_path: Path, admin_token: str
) -> None:
    """Precomputed lists, lists of an overloaded replica, and what answers when the recommender is stuck."""
    loaded = ServedRelease("a", releases["a"], RuleSet())
    precompute(loaded, lists_folder(tmp_path / "events.db.lists", loaded.release_id, RuleSet()))
    with running(tmp_path, {"a": releases["a"]}) as made:
        before = {user: [item["id"] for item in made.list(user)["items"]] for user in USERS}
        assert made.service.batcher.batched == 0
        gone = before["u6"][0]
        hide(made, gone)
        for user in USERS:
            expected = [item for item in before[user] if item != gone]
            assert [item["id"] for item in made.list(user)["items"]][: len(expected)] == expected
        touched = sum(gone in items for items in before.values())
        assert 0 < made.service.batcher.batched < len(USERS)  # only lists that may have held it
        assert touched <= made.service.batcher.batched
        control = made.service.deployment.control
        fallback = control.popular_list(Query(6, count=40), "the recommender is busy").recommendations
        assert len(fallback) > 10
        assert control.rows.item(gone) not in [entry.item for entry in fallback]


def test_items_are_available_within_their_window(made: Running) -> None:
    now = 1_900_000_000.0
    clock = {"now": now}
    made.service.catalogue._clock = lambda: clock["now"]
    change(made, "PATCH", "i1", available_from="2030-03-17T17:47:00Z")  # 20 s later
    change(made, "PATCH", "i2", available_to="2030-03-17T17:47:00+00:00")
    assert {"i1"}.isdisjoint(everywhere(made))
    assert "i2" in everywhere(made)
    kept = made.client.get("/v1/items/i1").json()
    assert (kept["available"], kept["listed"], kept["available_from"]) == (
        False,
        False,
        "2030-03-17T17:47:00Z",
    )
    clock["now"] = now + 21
    made.service.refresh_catalogue()
    assert "i1" in everywhere(made)
    assert "i2" not in everywhere(made)
    wrong = {"available_from": "2030-01-02", "available_to": "2030-01-01"}
    answer = made.client.patch("/v1/items/i3", json=wrong, headers=AS_ADMIN)
    assert answer.status_code == 422
    assert "later" in answer.json()["error"]["message"]


def test_an_added_item_is_found_and_rated_and_kept(
    releases: dict[str, Path], tmp_path: Path, admin_token: str
) -> None:
    body = {
        "title": "Neu & new (2026)",
        "genres": ["Drama", "Opera"],
        "features": {"price": 2.5, "tags": ["a", "b"]},
    }
    with running(tmp_path, {"a": releases["a"]}) as made:
        assert (
            made.client.put("/v1/items/n/1", json={"genres": ["Drama"]}, headers=AS_ADMIN).status_code == 422
        )
        added = change(made, "PUT", "n/1", **body, actor="ann", reason="licensed")
        assert added == {
            "id": "n/1",
            "title": "Neu & new (2026)",
            "genres": ["Drama", "Opera"],
            "year": 2026,
            "features": {"price": 2.5, "tags": ["a", "b"]},
            "new": True,
            "listed": False,
            "reason": NO_MAP,
            "notes": [],
            "available": True,
            "available_from": None,
            "available_to": None,
            "revision": 1,
            "hidden": False,
        }
        result = made.client.get("/v1/items?title=neu").json()["items"]
        assert [item["id"] for item in result] == ["n/1"]
        made.rate("u1", "n/1", 4.0, "e1")
        assert made.list("u1", exclude="n/1").get("unknown_items") is None
        assert made.list("u1", genres="opera")["items"] == []  # no item that the release can score has it
    with running(tmp_path, {"b": releases["b"]}) as made:  # restarted, and another release
        assert made.client.get("/v1/items/n/1").json()["title"] == "Neu & new (2026)"
        history = made.client.get("/v1/items/n/1/history", headers=AS_ADMIN).json()["changes"]
        assert [
            (entry["revision"], entry["actor"], entry["reason"], entry["before"]) for entry in history
        ] == [(1, "ann", "licensed", None)]
        assert history[0]["after"]["features"] == {"price": 2.5, "tags": ["a", "b"]}


def test_put_sets_all_and_patch_some(made: Running) -> None:
    own = made.client.get("/v1/items/i5").json()
    assert (own["id"], own["revision"], own["features"]) == ("i5", 0, {})
    change(made, "PUT", "i5", title="Renamed", features={"a": 1, "b": "x"})
    patched = change(made, "PATCH", "i5", features={"b": None, "c": True}, genres=["Drama"])
    assert (patched["title"], patched["genres"], patched["features"]) == (
        "Renamed",
        ["Drama"],
        {"a": 1, "c": True},
    )
    assert patched["revision"] == 2
    assert change(made, "PATCH", "i5", features={"c": True})["revision"] == 2  # nothing changed
    shown = [item for user in USERS for item in made.list(user, count=100)["items"] if item["id"] == "i5"]
    assert {item["title"] for item in shown} == {"Renamed"}
    again = change(made, "PUT", "i5")
    assert {**again, "revision": 0, "hidden": None} == {**own, "hidden": None}
    stale = made.client.patch("/v1/items/i5", json={"revision": 1, "title": "x"}, headers=AS_ADMIN)
    assert stale.status_code == 409
    assert (
        made.client.patch("/v1/items/i5", json={"revision": 3, "title": "x"}, headers=AS_ADMIN).status_code
        == 200
    )


def test_many_items_in_one_change_all_or_none(made: Running) -> None:
    rows = [{"id": f"m{n}", "title": f"Many {n}"} for n in range(300)]
    answer = made.client.post("/v1/items", json={"items": rows, "reason": "load"}, headers=AS_ADMIN)
    assert answer.json()["items"] == 300
    assert made.client.get("/v1/items/m299").json()["title"] == "Many 299"
    bad = [{"id": "i1", "hidden": True}, {"id": "unheard of"}]
    refused = made.client.post("/v1/items", json={"items": bad}, headers=AS_ADMIN)
    assert refused.status_code == 422
    assert "unheard of" in refused.json()["error"]["message"]
    assert made.client.get("/v1/items/i1").status_code == 200
    twice = made.client.post("/v1/items", json={"items": [rows[0], rows[0]]}, headers=AS_ADMIN)
    assert twice.status_code == 422
    entries = list(made.service.store.journal(kind="catalogue"))
    assert [(entry.subject, entry.data["items"], entry.data["reason"]) for entry in entries] == [
        ("many", 300, "load")
    ]


def test_other_replicas_follow(releases: dict[str, Path], tmp_path: Path, admin_token: str) -> None:
    with (
        running(tmp_path, {"a": releases["a"]}) as first,
        running(tmp_path, {"a": releases["a"]}) as second,
    ):
        gone = second.list("u1")["items"][0]["id"]
        hide(first, gone)
        change(first, "PUT", "n1", title="New")
        wait_for(lambda: second.client.get("/v1/items/n1").status_code == 200)
        assert gone not in everywhere(second)
        assert newest_items(second.service.store)[1] == newest_items(first.service.store)[1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "i1", {"titel": "x"}, 422),
        ("PUT", "i1", {"features": {"genre": "x"}}, 422),
        ("PUT", "i1", {"features": {"x": float("1e300")}}, 422),
        ("PUT", "i1", {"available_from": "yesterday"}, 422),
        ("PUT", "i1", {"available_from": "1800-01-01"}, 422),
        ("PATCH", "unheard", {"title": "x"}, 404),
        ("DELETE", "unheard", None, 404),
    ],
)
def test_what_cannot_be_is_refused(made: Running, method: str, path: str, body: Any, status: int) -> None:
    answer = made.client.request(method, f"/v1/items/{path}", json=body, headers=AS_ADMIN)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "request_id"}
    assert newest_items(made.service.store) == (0, [])


def test_an_item_that_was_never_changed_has_no_history(made: Running) -> None:
    answer = made.client.get("/v1/items/i1/history", headers=AS_ADMIN)
    assert answer.json() == {"id": "i1", "changes": []}
    hide(made, "i1", reason="gone")
    operations = made.client.get("/v1/operations", headers=AS_ADMIN).json()["journal"]
    assert [entry["data"]["reason"] for entry in operations if entry["kind"] == "catalogue"] == ["gone"]


def test_changes_need_the_admin_token(made: Running) -> None:
    for method, path in (("PUT", "i1"), ("PATCH", "i1"), ("DELETE", "i1"), ("GET", "i1/history")):
        answer = made.client.request(method, f"/v1/items/{path}", json={} if method[0] == "P" else None)
        assert answer.status_code == 403, (method, answer.text)
