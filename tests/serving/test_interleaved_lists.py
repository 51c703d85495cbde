"""An interleaved experiment over HTTP: one list of both arms, its teams stored, a preference found."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from serving.engine.admission import Overloaded
from serving.engine.micro_batcher import MicroBatcher
from serving.engine.pending_work import DeadlineExceeded
from serving.experiments.team_draft import SHARED, team_draft
from tests.serving.running import Running, arms_of, running
from tests.waiting import wait_for

INTERLEAVED = {"kind": "interleaved"}


def stored(made: Running) -> dict[str, Any]:
    wait_for(lambda: made.service.writer.waiting == 0)
    return {row.exposure_id: row for row in made.service.store.exposures()}


def ids(body: dict[str, Any]) -> list[str]:
    return [item["id"] for item in body["items"]]


def test_a_list_holds_both_arms_items_and_remembers_who_brought_which(
    tmp_path: Path, releases: dict[str, Path]
) -> None:
    with running(tmp_path, releases, experiment=INTERLEAVED) as made:
        arms = {arm: ids(made.list("u1", arm=arm, count=6)) for arm in releases}
        assert arms["a"] != arms["b"]
        bodies = [made.list("u1", count=6) for _ in range(40)]  # each by a coin of its own
        explained = made.list("u1", count=6, explain=True)
        batch = made.client.post("/v1/recommendations/batch", json={"requests": [{"user_id": "u1"}] * 2})
        rows = stored(made)
        for body in bodies:
            row = rows[body["exposure_id"]]
            drafted = team_draft(arms, 6, seed=body["exposure_id"])
            assert ids(body) == list(row.items) == list(drafted.items)
            assert row.teams == drafted.teams
            assert row.propensities == drafted.propensities
            assert [item["predicted_rating"] for item in body["items"]] == pytest.approx(list(row.predicted))
            assert body["fallback"] is None
        assert all(item["because"] for item in explained["items"])
        assert all(rows[entry["exposure_id"]].teams for entry in batch.json()["answers"])
        assert len({tuple(ids(body)) for body in bodies}) > 1
        forced = [row for row in rows.values() if row.experiment == "main:override"]
        assert forced
        assert not any(row.teams for row in forced)


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), Overloaded(), RuntimeError("broken")])
def test_without_one_arms_list_the_others_is_answered_and_nobody_is_credited(
    tmp_path: Path, releases: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with running(tmp_path, releases, experiment=INTERLEAVED) as made:
        broken = made.service.deployment.arms["b"]
        usual = MicroBatcher.submit

        async def submit(self: MicroBatcher, loaded: Any, query: Any, *, seconds: float) -> Any:
            if loaded is broken:
                raise error
            return await usual(self, loaded, query, seconds=seconds)

        monkeypatch.setattr(MicroBatcher, "submit", submit)
        for user in range(6):
            body = made.list(f"u{user}")
            assert ids(body) == ids(made.list(f"u{user}", arm="a"))
            row = stored(made)[body["exposure_id"]]
            assert row.teams == ()
            assert row.release_id == made.service.deployment.arms["a"].release_id


def test_the_same_release_twice_is_its_own_list_and_prefers_nobody(
    tmp_path: Path, releases: dict[str, Path]
) -> None:
    twice = {"old": releases["a"], "new": releases["a"]}
    with running(tmp_path, twice, experiment=INTERLEAVED) as made:
        body = made.list("u1")
        assert ids(body) == ids(made.list("u1", arm="old"))
        assert set(stored(made)[body["exposure_id"]].teams) == {SHARED}


def test_a_planted_preference_is_found_over_http(
    tmp_path: Path, releases: dict[str, Path], admin_token: str
) -> None:
    """People click what "b" brings more readily; the results' clock runs ahead, so all windows are closed."""
    draw, ahead = random.Random(1), 10 * 86_400.0
    with running(tmp_path, releases, clock=lambda: time.time() + ahead) as made:
        assert made.change(arms_of(releases), kind="interleaved").status_code == 200
        for number in range(59):
            body = made.list(f"u{number}", count=6)
            row = stored(made)[body["exposure_id"]]
            events = [
                {"event_id": f"{number}-{item}", "kind": "click", "user_id": body["user_id"], "item_id": item}
                | {"exposure_id": body["exposure_id"]}
                for item, team in zip(row.items, row.teams, strict=True)
                if draw.random() < {"a": 0.05, "b": 0.9}.get(team, 0.3)
            ]
            if events:
                made.client.post("/v1/feedback", json={"events": events}).raise_for_status()
        body = made.client.get("/v1/experiments/main/results").json()
    result = next(row for row in body["comparisons"] if row["metric"] == "hit_rate")
    assert (result["kind"], result["primary"]) == ("interleaved", True)
    assert result["verdict"]["decision"] == "ship"
    assert result["verdict"]["words"].startswith("Ship: the treatment is preferred, +0.")
    assert sum(result["preferences"].values()) == 59
    assert result["preferences"]["treatment"] > result["preferences"]["control"]
    assert 0 < result["interval"]["low"] < result["interval"]["estimate"] < result["interval"]["high"] <= 1
    assert body["kind"] == "interleaved"
    assert all(arm["brought"] >= arm["credited"] > 0 for arm in body["arms"])


def test_an_experiment_becomes_interleaved_over_http_and_says_what_cannot_be(
    tmp_path: Path, releases: dict[str, Path], admin_token: str
) -> None:
    with running(tmp_path, releases) as made:
        arms = arms_of(releases)
        plain = made.list("u1")
        assert stored(made)[plain["exposure_id"]].teams == ()
        alone = made.change([{**arms[0], "share": 1.0}, {**arms[1], "share": 0.0}], kind="interleaved")
        assert alone.status_code == 422
        assert "another arm need a share above 0" in alone.text
        drawn = made.change([{**arm, "explore": 0.1} for arm in arms], kind="interleaved")
        assert drawn.status_code == 422
        assert "interleaved lists do not explore" in drawn.text
        assert made.change(arms, kind="interleaved").json()["kind"] == "interleaved"
        merged = made.list("u1")
        assert stored(made)[merged["exposure_id"]].teams
        back = made.change(arms)
        assert (back.json()["kind"], back.json()["removed"]) == ("split", {"kind": "interleaved"})
