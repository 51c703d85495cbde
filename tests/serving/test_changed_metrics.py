"""What an experiment measures, changed over HTTP: audited, checked, and counted anew from then on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.serving.running import AS_ADMIN, Running, arms_of, running, wait_for

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
            "body.metrics: bought.events.purchase.weight: Input should be greater than 0 (got '0')"
        )
        saved = patch(made, PURCHASES).json()
        assert saved["metrics"]["bought"]["events"]["purchase"] == {"weight": 5.0, "at_least": None}
        assert patch(made, None).json()["metrics"] == saved["metrics"]  # null leaves them as they are
        change = made.client.get("/v1/experiments/main/history").json()["changes"][1]
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
