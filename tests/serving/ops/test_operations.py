"""Operations over a real event store and real releases: results, drift, journal, and the routes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api import http_errors
from serving.api import operations as routes
from serving.assignment import Assigner
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.events.store import EventStore
from serving.loop.loop_settings import LoopSettings
from serving.loop.training_steps import TrainingSteps
from serving.operation_settings import OperationSettings
from serving.operations_service import Operations
from tests.releases import make_release
from tests.serving.ops.here import Here
from tests.waiting import wait_for

NOW = 1_000_000.0


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "run" / "release", seed=1)


@pytest.fixture
def store(tmp_path: Path, release: Path) -> EventStore:
    made = EventStore(f"sqlite:///{tmp_path / 'events.db'}")
    made.create_tables()
    arms = (ArmSpec("old", str(release), 0.5), ArmSpec("new", str(release), 0.5))
    made.save_experiment(ExperimentState("main", 0, "salt", arms), expected=0, actor="test", at=0.0)
    return made


def operations(store: EventStore, messages: list[str] | None = None, **settings: object) -> Operations:
    return Operations(
        store,
        resolve=Path,
        notify=(messages if messages is not None else []).append,
        settings=OperationSettings(window_seconds=100.0, **settings),  # type: ignore[arg-type]
        clock=lambda: NOW,
    )


def answers(store: EventStore, users: int, *, better: float = 0.0, seed: int = 0, skew: float = 0.0) -> None:
    """Everybody gets one list, and rates its first item or another; "new" hits more often by ``better``."""
    rng = np.random.default_rng(seed)
    state = store.experiment("main")
    assert state is not None
    assigner = Assigner(state)
    shown, done = [], []
    for number in range(users):
        user = f"user-{number}"
        arm = assigner.assign(user).arm
        if arm == "new" and rng.random() < skew:
            continue
        name = f"x-{number}"
        shown.append(
            Exposure(name, NOW - 500, user, "main", arm, 1, "r", ("i1", "i2"), (4.0, 3.0), "personal", 5.0)
        )
        hit = rng.random() < 0.3 + (better if arm == "new" else 0.0)
        item = "i1" if hit else "i9"
        done.append(Feedback(f"f-{number}", name, user, "rating", item, 4.0, NOW - 490, 3.5))
    for start in range(0, users, 500):
        store.add(exposures=shown[start : start + 500], feedback=done[start : start + 500])


def verdict(body: JsonObject, metric: str = "hit_rate") -> str:
    found = next(row for row in body["comparisons"] if row["metric"] == metric)
    return str(found["verdict"]["decision"])


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


def test_reading_bit_by_bit_equals_reading_at_once(store: EventStore) -> None:
    """Feedback that is stored before its exposure waits for it."""
    running = operations(store)
    done = Feedback("f-0", "x-0", "user-0", "rating", "i1", 4.0, NOW - 5, 3.5)
    store.add(feedback=[done])
    running.tick()
    shown = Exposure("x-0", NOW - 6, "user-0", "main", "old", 1, "r", ("i1",), (4.0,), "personal", 5.0)
    store.add(exposures=[shown])
    running.tick()
    arms = {row["arm"]: row for row in running.results("main")["arms"]}
    assert arms["old"]["conversions"] == 1
    again = {row["arm"]: row for row in operations(store).results("main")["arms"]}
    assert again == arms


def test_shadow_lists_are_compared_and_never_counted(store: EventStore) -> None:
    shown = Exposure("x", NOW - 9, "u", "main", "old", 1, "r", ("a", "b", "c"), (4, 3, 2), "personal", 5.0)
    shadow = Exposure(
        "x-new", NOW - 9, "u", "main", "new", 1, "r", ("b", "a", "d"), (4, 3, 2), "personal", 7.0, True
    )
    store.add(exposures=[shown, shadow])
    body = operations(store).results("main")
    found = body["shadows"]["new"]
    assert found["overlap"] == pytest.approx(2 / 3)
    assert found["rank_correlation"] == pytest.approx(-1.0)
    assert found["slower_by_milliseconds"] == pytest.approx(2.0)
    assert {row["arm"]: row["exposures"] for row in body["arms"]} == {"old": 1, "new": 0}


def test_drift_is_told_journalled_and_a_trigger_of_the_loop(store: EventStore, tmp_path: Path) -> None:
    messages: list[str] = []
    running = operations(store, messages)
    rng = np.random.default_rng(6)
    rows = [
        Feedback(
            f"d{number}", None, f"stranger{number}", "rating", f"i{rng.integers(40)}", 0.5, NOW + number, 4.5
        )
        for number in range(3000)
    ]
    for start in range(0, 3000, 500):
        store.add(feedback=rows[start : start + 500])
        running.tick()
    report = running.drift()["main"]["releases"]
    drifted = {name for row in report for name in row.get("drifted", [])}
    assert "unknown_users" in drifted
    assert "--start-from" in report[0]["advice"]
    assert any("unknown_users" in words for words in messages)
    assert {row.kind for row in store.journal(kind="drift")} == {"drift"}
    settings = LoopSettings(folder=str(tmp_path / "loop"))
    seen = TrainingSteps(settings, store, events="events.db", experiment="main").idle([], NOW + 9_000, None)
    assert "unknown_users" in seen["drifted"]
    assert seen["new_ratings"] == 3000


def test_a_store_that_is_away_is_waited_for(store: EventStore, tmp_path: Path) -> None:
    running = operations(store, tick_seconds=0.02)
    stop = threading.Event()
    failures: list[str] = []
    thread = threading.Thread(target=running.run, args=(stop,), kwargs={"failed": failures.append})

    def rename(before: str, after: str) -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
            other.execute(f"ALTER TABLE {before} RENAME TO {after}")

    rename("experiments", "experiments_away")
    thread.start()
    wait_for(lambda: failures)
    time.sleep(0.2)
    rename("experiments_away", "experiments")
    assert running.results("main")["experiment"] == "main"
    stop.set()
    thread.join(120)
    assert not thread.is_alive()
    assert len(failures) == 1


def test_the_routes_answer_and_refuse(store: EventStore) -> None:
    app = FastAPI()
    http_errors.add_error_handlers(app)
    app.include_router(routes.router)
    with TestClient(app) as client:
        assert client.get("/v1/drift").status_code == 503
        app.state.operations = Here(operations(store))
        assert client.get("/v1/experiments/main/results").json()["revision"] == 1
        assert client.get("/v1/experiments/none/results").status_code == 404
        body = client.get("/v1/operations").json()
        assert body["journal"][0]["kind"] == "audit"
        assert set(body) == {"at", "experiments", "drift", "journal", "loop"}


def test_an_unknown_experiment_is_refused_in_words(store: EventStore) -> None:
    with pytest.raises(InputError, match="no experiment 'other'; there are: main"):
        operations(store).results("other")


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
