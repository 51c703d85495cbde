"""What an experiment measures, changed over HTTP: audited, checked, and counted anew from then on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys.data.ratings import RatingScale
from recsys.errors import InputError
from serving.startup_checks import check_metrics
from tests.releases import make_dataset, make_release
from tests.serving.running import AS_ADMIN, Running, arms_of, running, settings_for
from tests.waiting import wait_for

PURCHASES = {"primary": "bought", "bought": {"events": {"purchase": 5, "click": 1}, "exposures": "served"}}


def buy(made: Running, user: str) -> None:
    listed = made.list(user)
    event = {"event_id": f"e-{listed['exposure_id']}", "kind": "purchase", "user_id": user}
    event |= {"item_id": listed["items"][0]["id"], "exposure_id": listed["exposure_id"]}
    made.client.post("/v1/feedback", json={"events": [event]}).raise_for_status()
    wait_for(lambda: made.service.writer.waiting == 0)


def patch(made: Running, metrics: Any) -> Any:
    revision = made.client.get("/v1/experiments/main").json()["revision"]
    body = {"revision": revision, "metrics": metrics, "reason": "purchases decide"}
    return made.client.patch("/v1/experiments/main", json=body, headers=AS_ADMIN)


def test_other_metrics_are_checked_audited_and_counted_anew(
    tmp_path: Path, releases: dict[str, Path], admin_token: str
) -> None:
    ahead = 10 * 86_400.0
    with running(tmp_path, releases, clock=lambda: time.time() + ahead) as made:
        assert made.change(arms_of(releases)).json()["metrics"] is None
        buy(made, "u1")
        refused = patch(made, {"primary": "bought"})
        assert refused.status_code == 422
        assert refused.json()["error"]["message"] == (
            "body.metrics: the primary metric 'bought' is none of ['hit_rate', 'accuracy']"
        )
        typed = patch(made, {"bought": {"events": {"purchase": 0}}}).json()["error"]
        assert typed["message"] == (
            "body.metrics: bought.events.purchase.weight: "
            "Input should be greater than or equal to 0.000001 (got '0')"
        )
        saved = patch(made, PURCHASES).json()
        assert saved["metrics"]["bought"]["events"]["purchase"] == {"weight": 5.0, "at_least": None}
        assert patch(made, None).json()["metrics"] == saved["metrics"]  # null leaves them as they are
        change = made.client.get("/v1/experiments/main/history").json()["changes"][0]
        assert (change["metrics"], change["reason"]) == (saved["metrics"], "purchases decide")
        assert change["changed"] == {"metrics": [None, saved["metrics"]]}
        for user in ("u2", "u3"):
            buy(made, user)
        body = made.client.get("/v1/experiments/main/results").json()
        assert {row["metric"] for row in body["comparisons"]} == {"bought", "accuracy"}
        assert next(row for row in body["comparisons"] if row["primary"])["metric"] == "bought"
        assert sum(arm["users"] for arm in body["arms"]) == 2  # u1 was seen under other rules
        assert sum(arm["conversions"] for arm in body["arms"]) == 2
        removed = made.change(arms_of(releases)).json()
        assert (removed["metrics"], removed["removed"]) == (None, {"metrics": saved["metrics"]})


def test_thresholds_are_judged_against_the_releases_scale(
    tmp_path: Path, releases: dict[str, Path], admin_token: str
) -> None:
    small = make_dataset()
    doubled = replace(small.ratings, values=2 * small.ratings.values, scale=RatingScale(1.0, 10.0))
    ten = make_release(tmp_path / "ten", members=("bias",), dataset=replace(small, ratings=doubled))
    with running(tmp_path, {"a": ten}) as made:
        made.service.store.save_experiment(made.service.deployment.state, expected=0, actor="start")
        wait_for(lambda: made.service.revision == 1)

        def answered(rating: float) -> tuple[int, str]:
            answer = patch(made, {"liked": {"events": {"rating": {"at_least": rating}}}})
            return answer.status_code, answer.json().get("error", {}).get("message", "")

        assert answered(10)[0] == 200
        assert answered(11) == (
            422,
            "metrics: liked.events.rating.at_least is 11, but the first arm's release has ratings from 1 to "
            "10: expected a value between them",
        )
        assert answered(0)[0] == 422
        five = made.change(arms_of({"a": releases["a"]}), metrics=made.service.deployment.state.metrics)
        assert (five.status_code, "is 10" in five.text) == (422, True)  # another release, another scale
        kind = patch(made, {"liked": {"events": {"click": {"at_least": 3}}}}).json()["error"]["message"]
        assert kind.startswith("body.metrics: liked.events: at_least is for ratings")
        for weight in (1e-9, 1e300):
            assert patch(made, {"liked": {"events": {"click": weight}}}).status_code == 422
        assert made.service.revision == 2
    rule = {"liked": {"events": {"rating": {"at_least": 11}}}}
    settings = settings_for(tmp_path, {"a": ten}, experiment={"metrics": rule})
    with pytest.raises(InputError, match=r"at_least is 11, but the first arm's release has ratings from 1"):
        check_metrics(settings, settings.experiment.state(), ten)


def test_a_change_that_changes_nothing_is_no_revision(
    tmp_path: Path, releases: dict[str, Path], admin_token: str
) -> None:
    with running(tmp_path, releases) as made:
        first = made.change(arms_of(releases), holdout=0.1).json()
        again = [
            made.change(arms_of(releases), holdout=0.1, reason="once more"),
            made.client.patch("/v1/experiments/main", json={"revision": 1}, headers=AS_ADMIN),
            made.client.patch(
                "/v1/experiments/main", json={"revision": 1, "shares": {"a": 0.5}}, headers=AS_ADMIN
            ),
        ]
        for answer in again:
            assert (answer.status_code, answer.json()["revision"]) == (200, first["revision"])
            assert answer.json()["note"] == "nothing changed: revision 1 is already like that"
        assert "note" not in first
        assert len(list(made.service.store.journal(kind="audit", subject="main"))) == 1
        old = made.client.patch("/v1/experiments/main", json={"revision": 0}, headers=AS_ADMIN)
        assert old.status_code == 409
        body = {"revision": 1, "shares": {"a": 0.4, "b": 0.6}}
        assert made.client.patch("/v1/experiments/main", json=body, headers=AS_ADMIN).json()["revision"] == 2
