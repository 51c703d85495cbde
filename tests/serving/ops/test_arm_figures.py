"""Figures and verdicts of an experiment's arms, counted from its events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serving.assignment import Assigner
from serving.domain import Exposure, Feedback
from serving.events.store import EventStore
from tests.serving.ops.made_experiment import NOW, answers, operations, verdict


def test_figures_of_the_arms_are_those_of_the_events(store: EventStore) -> None:
    answers(store, 400, seed=1)
    body = operations(store).results("main")
    arms = {row["arm"]: row for row in body["arms"]}
    assert arms["old"]["users"] + arms["new"]["users"] == 400
    assert arms["old"]["rmse"] == pytest.approx(0.5)
    hits = sum(row["conversions"] for row in body["arms"])
    assert hits == sum(row.item_id == "i1" for row in store.feedback())
    assert arms["old"]["p99_milliseconds"] == pytest.approx(5.0, rel=0.02)
    assert verdict(body) == "not yet"
    assert verdict(body, "accuracy") == "secondary"


def test_a_planted_lift_ships_and_a_skewed_split_gets_no_verdict(store: EventStore) -> None:
    answers(store, 1500, better=0.3, seed=2)
    assert verdict(operations(store).results("main")) == "ship"


def test_a_skewed_split_gets_no_verdict(store: EventStore) -> None:
    answers(store, 1500, better=0.3, seed=3, skew=0.4)
    body = operations(store).results("main")
    assert verdict(body) == "no verdict"
    assert "Sample ratio" in body["comparisons"][0]["verdict"]["words"]


def test_lost_events_mean_no_verdict(store: EventStore) -> None:
    answers(store, 1500, better=0.3, seed=4)
    store.append("gap", "exposures", {"since": NOW - 400, "lost": 7})
    body = operations(store).results("main")
    assert verdict(body) == "no verdict"
    assert body["lost_events"] == 7


def test_late_double_and_foreign_events_are_counted_and_left_out(store: EventStore) -> None:
    answers(store, 300, seed=5)
    shown = Exposure("y", NOW - 500, "user-1", "main", "gone", 1, "r", ("i1",), (4.0,), "personal", 5.0)
    early = Feedback("e1", "x-3", "user-3", "rating", "i1", 4.0, NOW - 900, 3.5)
    foreign = Feedback("e2", "x-4", "user-5", "rating", "i1", 4.0, NOW - 480, 3.5)
    nowhere = Feedback("e3", "no-such", "user-6", "rating", "i1", 4.0, NOW - 480, 3.5)
    before = operations(store).results("main")
    store.add(exposures=[shown], feedback=[early, foreign, nowhere])
    assert store.add(feedback=[early]) == set()
    after = operations(store).results("main")
    assert after["left_out"] == {
        "unknown arm": 1,
        "before its exposure": 1,
        "another user's exposure": 1,
        "unknown exposure": 1,
    }
    assert [row["conversions"] for row in after["arms"]] == [row["conversions"] for row in before["arms"]]


def test_a_change_of_shares_keeps_people_where_they_were_first(store: EventStore) -> None:
    """Activity alone decides; 10% becomes 50% on the way: nobody is dropped, nobody is told apart."""
    first = store.experiment("main")
    assert first is not None
    rng, random = np.random.default_rng(9), np.random.default_rng(10)
    arms = tuple(replace(arm, share=share) for arm, share in zip(first.arms, (0.9, 0.1), strict=True))
    low = store.save_experiment(replace(first, arms=arms), expected=first.revision, actor="t", at=0.0)
    arms = tuple(replace(arm, share=0.5) for arm in first.arms)
    high = store.save_experiment(replace(low, arms=arms), expected=low.revision, actor="t", at=NOW - 500)
    before, after = Assigner(low), Assigner(high)
    shown, done = [], []
    for number in range(1500):
        user, active = f"user-{number}", random.random() < 0.3
        for visit, (assigner, state, at) in enumerate(((before, low, NOW - 900), (after, high, NOW - 400))):
            if visit == 0 or active:
                arm, name = assigner.assign(user).arm, f"x-{number}-{visit}"
                shown.append(
                    Exposure(
                        name, at + number / 100, user, "main", arm, state.revision, "r", ("i1",), (4.0,),
                        "personal", 5.0,
                    )
                )  # fmt: skip
                if rng.random() < (0.5 if active else 0.1):
                    done.append(Feedback(f"f-{name}", name, user, "click", "i1", None, at + number / 100 + 1))
    for start in range(0, len(shown), 500):
        store.add(exposures=shown[start : start + 500])
    store.add(feedback=done)
    body = operations(store).results("main")
    comparison = next(row for row in body["comparisons"] if row["metric"] == "hit_rate")
    users = comparison["difference"]["control_users"] + comparison["difference"]["treatment_users"]
    assert users == 1500
    assert comparison["verdict"]["decision"] == "not yet"


def test_a_hit_is_a_click_or_a_good_rating_once_for_an_exposure_and_item(store: EventStore) -> None:
    shown = Exposure("x", NOW - 500, "u", "main", "old", 1, "r", ("i1", "i2"), (4.0, 3.0), "personal", 5.0)
    session = replace(shown, exposure_id="y", user_id="anonymous-y")
    clicks = [Feedback(f"c{n}", "x", "u", "click", "i1", None, NOW - 490) for n in range(50)]
    poor = Feedback("r1", "x", "u", "rating", "i2", 1.0, NOW - 490, 3.0)
    loose = Feedback("l1", None, "u", "click", "i2", None, NOW - 490)
    early = Feedback("e1", "x", "u", "rating", "i2", 5.0, NOW - 505, 3.0)  # a client's clock is 5 s behind
    store.add(exposures=[shown, session], feedback=[*clicks, poor, loose, early])
    body = operations(store).results("main")
    arm = next(row for row in body["arms"] if row["arm"] == "old")
    assert (arm["users"], arm["exposures"], arm["conversions"]) == (1, 1, 2)
    assert body["left_out"] == {"list for a session without a user id": 1, "click without an exposure": 1}


def test_people_held_out_are_reported_beside_the_arms(store: EventStore) -> None:
    answers(store, 400, seed=7)
    state = store.experiment("main")
    assert state is not None
    assert operations(store).results("main")["holdout"] is None
    store.save_experiment(
        replace(state, holdout=0.1), expected=1, actor="ann", reason="compare", at=NOW - 600
    )
    shown = [
        Exposure(
            f"h{n}", NOW - 500, f"apart-{n}", "main:holdout", "old", 2, "r", ("i1",), (4.0,), "personal", 5.0
        )
        for n in range(30)
    ]
    done = [Feedback(f"hf{n}", f"h{n}", f"apart-{n}", "rating", "i1", 4.5, NOW - 490, 4.0) for n in range(12)]
    store.add(exposures=shown, feedback=done)
    running = operations(store)
    body = running.results("main")
    assert (body["holdout"]["users"], body["holdout"]["conversions"]) == (30, 12)
    assert body["holdout"]["rmse"] == pytest.approx(0.5)
    assert sum(row["users"] for row in body["arms"]) == 400
    newest = running.journal()[0]["data"]
    assert (newest["actor"], newest["reason"]) == ("ann", "compare")
    assert newest["before"] == newest["after"] == {"old": 0.5, "new": 0.5}
