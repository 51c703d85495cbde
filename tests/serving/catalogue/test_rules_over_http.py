"""Rules changed over HTTP: revisions, history, every replica, restarts; known lists follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.startup_checks import resolve_experiment
from tests.serving.running import AS_ADMIN, Running, running
from tests.waiting import wait_for

OWN = {"hidden": ["i0"], "boosts": {"i5": 0.5}}


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path, admin_token: str) -> Iterator[Running]:
    with running(tmp_path, {"a": releases["a"]}, rules=OWN) as entry:
        yield entry


def rules(made: Running) -> dict[str, Any]:
    result: dict[str, Any] = made.client.get("/v1/rules").json()
    return result


def send(made: Running, method: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = made.client.request(method, "/v1/rules", json=body, headers=AS_ADMIN)
    assert answer.status_code == status, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_rules_change_lists_at_once_and_are_audited(made: Running) -> None:
    assert rules(made) == {
        "revision": 0,
        "hidden": ["i0"],
        "boosts": {"i5": 0.5},
        "diversity": 0.0,
        "unknown_items": [],
    }
    assert made.client.get("/v1/rules/history").json() == {"changes": []}
    before = [item["id"] for item in made.list("u1", count=5)["items"]]
    last = [item["id"] for item in made.list("u1", count=100)["items"]][-1]
    after = send(
        made,
        "PATCH",
        revision=0,
        hide=[before[0]],
        boosts={"i5": None, last: 9.0},
        actor="ann",
        reason="promo",
    )
    assert after["revision"] == 1
    assert after["hidden"] == sorted(["i0", before[0]])
    listed = [item["id"] for item in made.list("u1", count=5)["items"]]
    assert listed[0] == last
    assert before[0] not in listed
    assert made.client.get("/v1/items?count=100").json()["total"] == 38
    send(made, "PUT", revision=1, diversity=0.4, hidden=["later"])
    assert rules(made) == {
        "revision": 2,
        "hidden": ["later"],
        "boosts": {},
        "diversity": 0.4,
        "unknown_items": ["later"],
    }
    same = send(made, "PATCH", revision=2, hide=["later"], reason="once more")
    assert (same["revision"], same["note"]) == (2, "nothing changed: revision 2 is already like that")
    changes = made.client.get("/v1/rules/history").json()["changes"]
    assert [(entry["revision"], entry["actor"], entry["reason"]) for entry in changes] == [
        (2, "admin", ""),
        (1, "ann", "promo"),
    ]
    assert changes[1]["before"] == {"hidden": ["i0"], "boosts": {"i5": 0.5}, "diversity": 0.0}
    assert changes[1]["after"] == changes[0]["before"]
    assert changes[0]["after"] == {"hidden": ["later"], "boosts": {}, "diversity": 0.4}


def test_what_cannot_be_is_refused(made: Running) -> None:
    send(made, "PUT", 422, revision=0, diversity=2)
    send(made, "PUT", 422, revision=0, hiden=[])
    send(made, "PATCH", 422, revision=0, boosts={"i1": 1e9})
    send(made, "PATCH", 422, revision=0, boosts={"i1": True})
    send(made, "PATCH", 422, revision=0, diversity="1")
    send(made, "PUT", 422, revision=0, diversity=True)
    send(made, "PATCH", revision=0, hide=["i1"])
    assert "revision 1" in send(made, "PATCH", 409, revision=0, hide=["i2"])["error"]["message"]
    assert made.client.patch("/v1/rules", json={"revision": 1}).status_code == 403
    assert rules(made)["hidden"] == ["i0", "i1"]


def test_other_replicas_and_restarts_follow_until_a_reset(
    releases: dict[str, Path], tmp_path: Path, admin_token: str
) -> None:
    with (
        running(tmp_path, {"a": releases["a"]}, rules=OWN) as first,
        running(tmp_path, {"a": releases["a"]}, rules=OWN) as second,
    ):
        best = second.list("u1")["items"][0]["id"]
        send(first, "PATCH", revision=0, hide=[best])
        wait_for(lambda: rules(second)["revision"] == 1)
        assert best not in [item["id"] for item in second.list("u1")["items"]]
    with running(tmp_path, {"b": releases["b"]}, rules=OWN) as again:
        assert rules(again)["hidden"] == sorted(["i0", best])
        settings = again.service.settings
    resolve_experiment(settings, reset=True)
    with running(tmp_path, {"b": releases["b"]}, rules=OWN) as again:
        assert rules(again) == {**rules(again), "revision": 2, "hidden": ["i0"], "boosts": {"i5": 0.5}}
