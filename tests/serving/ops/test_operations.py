"""Operations over a real event store and real releases: results, drift, journal, and the routes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from recsys.errors import InputError
from serving.api import http_errors
from serving.api import operations as routes
from serving.domain import Exposure, Feedback
from serving.events.store import EventStore
from serving.loop.loop_settings import LoopSettings
from serving.loop.training_steps import TrainingSteps
from tests.serving.ops.here import Here
from tests.serving.ops.made_experiment import NOW, operations
from tests.waiting import wait_for


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
    result = body["shadows"]["new"]
    assert result["overlap"] == pytest.approx(2 / 3)
    assert result["rank_correlation"] == pytest.approx(-1.0)
    assert result["slower_by_milliseconds"] == pytest.approx(2.0)
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
