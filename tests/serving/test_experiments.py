from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.releases import make_release
from tests.serving.running import ADMIN, AS_ADMIN, Running, arms_of, running
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path, admin_token: str) -> Any:
    with running(tmp_path, releases, 0.9, 0.1) as entry:
        yield entry


def test_ramping_over_http_moves_only_whom_it_must(made: Running, releases: dict[str, Path]) -> None:
    users = [f"visitor-{n}" for n in range(500)]
    before = {user: made.list(user, count=1)["arm"] for user in users}
    changed = made.change(arms_of(releases, 0.8, 0.2), actor="anna", reason="it looks good")
    assert (changed.status_code, changed.json()["revision"]) == (200, 1)
    answers = {user: made.list(user, count=1) for user in users}
    moves = Counter((before[user], answers[user]["arm"]) for user in users)
    assert set(moves) == {("a", "a"), ("a", "b"), ("b", "b")}
    assert 0.05 < moves["a", "b"] / len(users) < 0.15
    assert {answer["revision"] for answer in answers.values()} == {1}


def test_a_change_is_audited_and_made_once(made: Running, releases: dict[str, Path]) -> None:
    assert made.change(arms_of(releases, 0.5, 0.5), actor="anna", reason="even").status_code == 200
    body = {"revision": 0, "arms": arms_of(releases, 0.1, 0.9)}
    late = made.client.put("/v1/experiments/main", json=body, headers=AS_ADMIN)
    assert late.status_code == 409
    assert "the newest revision is 1" in late.json()["error"]["message"]
    entries = list(made.service.store.journal(kind="audit", subject="main"))
    assert [(entry.data["actor"], entry.data["reason"]) for entry in entries] == [("anna", "even")]
    history = made.client.get("/v1/experiments/main/history").json()["revisions"]
    assert [state["revision"] for state in history] == [1]


@pytest.mark.parametrize(
    "header", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {ADMIN}"}]
)
def test_only_the_admin_changes_anything(made: Running, header: dict[str, str]) -> None:
    state = made.client.get("/v1/experiments/main").json()
    body = {"revision": 0, "arms": state["arms"]}
    refused = made.client.put("/v1/experiments/main", json=body, headers=header)
    assert refused.status_code == 403
    assert made.client.get("/v1/experiments/main").json()["revision"] == 0


def test_without_an_admin_token_nothing_can_be_changed(
    made: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECSYS_ADMIN_TOKEN")
    state = made.client.get("/v1/experiments/main").json()
    body = {"revision": 0, "arms": state["arms"]}
    refused = made.client.put("/v1/experiments/main", json=body, headers={"authorization": "Bearer x"})
    assert refused.status_code == 403
    assert "RECSYS_ADMIN_TOKEN" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("shares", "more", "status", "says"),
    [
        ((0.5, 0.4), {}, 422, "sum to 1"),
        ((1.5, -0.5), {}, 422, "less than or equal to 1"),
        ((0.5, 0.5), {"overrides": {"u1": "z"}}, 422, "overrides name arms"),
        ((True, False), {}, 422, "valid number"),
        ((0.5, 0.5), {"holdout": True}, 422, "valid number"),
        ((0.5, 0.5), {"revision": "0"}, 422, "valid integer"),
        ((0.5, 0.5), {"revision": -1}, 422, "greater than or equal to 0"),
        ((0.5, 0.5), {"revision": 7}, 409, "the newest revision is 0"),
    ],
)
def test_states_that_cannot_be_are_refused(
    made: Running,
    releases: dict[str, Path],
    shares: tuple[float, ...],
    more: dict[str, Any],
    status: int,
    says: str,
) -> None:
    refused = made.change(arms_of(releases, *shares), **more)
    assert (refused.status_code, says in refused.json()["error"]["message"]) == (status, True), refused.text
    assert made.list("u1")["revision"] == 0


def test_an_unknown_experiment_is_not_there(made: Running) -> None:
    assert made.client.get("/v1/experiments/other").status_code == 404


def test_a_tampered_release_changes_nothing(made: Running, releases: dict[str, Path], tmp_path: Path) -> None:
    bad = make_release(tmp_path / "bad", seed=9)
    file = sorted((bad / "members").rglob("*.safetensors"))[0]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    before = made.list("u1")
    refused = made.change(arms_of({"a": releases["a"], "b": bad}, 0.5, 0.5))
    assert refused.status_code == 422
    assert "sha256" in refused.json()["error"]["message"] or "hash" in refused.json()["error"]["message"]
    missing = made.change(arms_of({"a": releases["a"], "b": tmp_path / "nowhere"}, 0.5, 0.5))
    assert missing.status_code == 422
    assert "python search/breakthrough.py" in missing.json()["error"]["message"]
    after = made.list("u1")
    assert (after["items"], after["revision"]) == (before["items"], 0)


def test_holdout_and_testers_do_not_count(made: Running, releases: dict[str, Path]) -> None:
    made.change(arms_of(releases, 0.0, 1.0), holdout=0.5, overrides={"tester": "a"})
    assert made.list("tester")["assignment"] == "override"
    answers = [made.list(f"v{n}", count=1) for n in range(60)]
    held = [answer for answer in answers if answer["assignment"] == "holdout"]
    assert 10 < len(held) < 50
    assert {answer["arm"] for answer in held} == {"a"}
    assert made.list("v1", arm="a")["assignment"] == "override"
    store = made.service.store
    wait_for(lambda: len(list(store.exposures())) == 62)
    counted = list(store.exposures(experiment="main"))
    assert {row.arm for row in counted} == {"b"}
    assert len(counted) == 60 - len(held)
    assert len(list(store.exposures(experiment="main:override"))) == 2


def test_shadow_arms_answer_unseen(made: Running, releases: dict[str, Path]) -> None:
    arms = arms_of(releases, 1.0, 0.0)
    arms[1]["shadow"] = True
    assert made.change(arms).status_code == 200
    shown = [made.list(f"u{n}") for n in range(10)]
    assert {answer["arm"] for answer in shown} == {"a"}
    store = made.service.store
    wait_for(lambda: sum(row.shadow for row in store.exposures()) == 10)
    pairs = {row.exposure_id: row for row in store.exposures()}
    for answer in shown:
        unseen = pairs[f"{answer['exposure_id']}-b"]
        assert (unseen.shadow, unseen.arm, unseen.user_id) == (True, "b", answer["user_id"])


def test_a_rollouts_experiment_is_not_changed_by_hand_unawares(
    made: Running, releases: dict[str, Path]
) -> None:
    assert made.change(arms_of(releases, 0.9, 0.1), owner="rollout").status_code == 200
    refused = made.change(arms_of(releases, 0.5, 0.5))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert made.change(arms_of(releases, 0.5, 0.5), take_over=True).json()["owner"] == "manual"


def test_other_replicas_follow(made: Running, releases: dict[str, Path], tmp_path: Path) -> None:
    with running(tmp_path, releases, 0.9, 0.1) as other:
        made.change(arms_of(releases, 0.3, 0.7))
        wait_for(lambda: other.list("u1")["revision"] == 1)
        users = [f"v{n}" for n in range(200)]
        assert [other.list(user)["arm"] for user in users] == [made.list(user)["arm"] for user in users]


def test_changes_and_new_releases_under_load_fail_nobody(
    made: Running, releases: dict[str, Path], tmp_path: Path
) -> None:
    """Shares and releases change all the time; every answer is whole and of an arm that its revision has."""
    spare = make_release(tmp_path / "spare", seed=5)
    arms_by_revision: dict[int, dict[str, str]] = {}
    stop = threading.Event()
    answers: list[dict[str, Any]] = []
    failures: list[Any] = []

    def load(start: int) -> None:
        with httpx.Client(base_url=made.url, timeout=120) as client:
            n = start
            while not stop.is_set():
                n += 7
                try:
                    messages = client.get(f"/v1/users/v{n}/recommendations")
                    messages.raise_for_status()
                    answers.append(messages.json())
                except Exception as error:
                    failures.append(error)

    def note(state: dict[str, Any]) -> None:
        versions = made.service.deployment.arms
        arms_by_revision[state["revision"]] = {name: entry.release_id for name, entry in versions.items()}

    threads = [threading.Thread(target=load, args=(start,)) for start in range(4)]
    note(made.client.get("/v1/experiments/main").json())
    for thread in threads:
        thread.start()
    for step in range(12):
        second = releases["b"] if step % 2 else spare
        share = (step % 5) / 10
        changed = made.change(arms_of({"a": releases["a"], "b": second}, 1 - share, share))
        assert changed.status_code == 200, changed.text
        note(changed.json())
        answered = len(answers)
        wait_for(lambda least=answered + 9: failures or len(answers) > least)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(answers) > 100
    for answer in answers:
        assert answer["model_version"] == arms_by_revision[answer["revision"]][answer["arm"]]
        assert len(answer["items"]) == 10


def test_a_patch_of_shares_keeps_holdout_and_testers_and_a_put_says_what_it_removed(
    made: Running, releases: dict[str, Path]
) -> None:
    url = "/v1/experiments/main"
    kept = {"holdout": 0.1, "overrides": {"tester": "b"}}
    assert made.change(arms_of(releases, 0.9, 0.1), **kept).json()["removed"] == {}
    patch = {"revision": 1, "shares": {"a": 0.6, "b": 0.4}, "actor": "anna", "reason": "ramp"}
    changed = made.client.patch(url, json=patch, headers=AS_ADMIN)
    assert changed.status_code == 200, changed.text
    state = made.client.get(url).json()
    assert [arm["share"] for arm in state["arms"]] == [0.6, 0.4]
    assert (state["holdout"], state["overrides"]) == (0.1, {"tester": "b"})
    newest = made.client.get(f"{url}/history").json()["changes"][0]
    assert (newest["actor"], newest["reason"], newest["revision"]) == ("anna", "ramp", 2)
    assert (newest["before"], newest["after"]) == ({"a": 0.9, "b": 0.1}, {"a": 0.6, "b": 0.4})
    unknown = made.client.patch(url, json={"revision": 2, "shares": {"c": 0.5}}, headers=AS_ADMIN)
    assert unknown.status_code == 422
    assert "there are ['a', 'b']" in unknown.json()["error"]["message"]
    unbalanced = made.client.patch(url, json={"revision": 2, "shares": {"a": 0.9}}, headers=AS_ADMIN)
    assert unbalanced.status_code == 422
    assert made.client.patch(url, json=patch, headers=AS_ADMIN).status_code == 409
    assert made.client.patch(url, json=patch).status_code == 403
    replaced = made.change(arms_of(releases, 0.5, 0.5), revision=2)
    assert replaced.json()["removed"] == {"holdout": 0.1, "overrides": {"tester": "b"}}


def test_a_change_that_no_file_holds_is_not_acknowledged(
    made: Running, releases: dict[str, Path], tmp_path: Path
) -> None:
    """The event store's file is moved away under the running server."""
    assert made.change(arms_of(releases, 0.8, 0.2)).status_code == 200
    (tmp_path / "events.db").rename(tmp_path / "elsewhere.db")
    refused = made.change(arms_of(releases, 0.5, 0.5))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    (tmp_path / "elsewhere.db").rename(tmp_path / "events.db")
    state = made.client.get("/v1/experiments/main").json()
    assert (state["revision"], [arm["share"] for arm in state["arms"]]) == (1, [0.8, 0.2])
    assert made.change(arms_of(releases, 0.5, 0.5)).json()["revision"] == 2
