"""Tracking against real MLflow: an SQLite store, and a server that is away and comes back."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from recsys.training.trials import EventKind, RunEvent, TrialResult
from search.results import write_results
from search.results.outcome import Outcome
from search.tracking import Tracker, default_uri
from search.tracking import sender as sending
from search.tracking.__main__ import main as resend
from search.tracking.journal import Cursor, Journal
from search.tracking.registry import model_name
from search.tracking.store import EXPERIMENT
from tests.search.mlflow_server import MlflowServer
from tests.search.outcomes import make_outcome, make_trial

NAME = model_name("made-up")


@pytest.fixture(autouse=True)
def no_address_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of runs whose SQLite store is made once: that alone takes seconds."""
    home = tmp_path_factory.mktemp("runs")
    tracker = Tracker.open(home / "first", name="first", params={})
    assert tracker.close(120) == ""
    return home


def client_of(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_of(uri: str, name: str) -> dict[str, Any]:
    """Nested runs of the run called ``name``, by name, and the run itself under its own."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.info.run_name == name and "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len({run.info.run_name for run in nested}) == len(nested)
    return {name: parents[0], **{run.info.run_name: run for run in nested}}


def tell_all(tracker: Tracker, trials: tuple[TrialResult, ...]) -> None:
    for trial in trials:
        tracker.trial_started(trial.spec)
        for report in trial.reports:
            tracker.epoch(trial.spec, report)
        for event in trial.events:
            tracker.event(event)
        tracker.trial_finished(trial)


def make_release(folder: Path, text: str) -> Path:
    release = folder / "release"
    release.mkdir(parents=True)
    (release / "manifest.json").write_text(text)
    (release / "members").mkdir()
    (release / "members" / "weights.bin").write_bytes(bytes(1000))
    return release


def test_a_run_becomes_a_parent_with_a_nested_run_for_each_trial(store: Path) -> None:
    outcome = make_outcome(store / "nested", trials=9)
    write_results(outcome.folder, outcome)
    tracker = Tracker.open(
        outcome.folder, name="nested", params={"trials": 9, "space": {"dropout": [0.1, 0.6]}}
    )
    tell_all(tracker, outcome.trials)
    tracker.event(RunEvent(EventKind.BUDGET, 1.0, value=0.5, message="half of the budget is used"))
    tracker.finish(outcome)
    assert tracker.close(60) == ""

    uri = default_uri(outcome.folder)
    assert uri == f"sqlite:///{store}/mlflow.db"
    runs = runs_of(uri, "nested")
    assert len(runs) == 10
    parent = runs["nested"]
    assert parent.data.params["space.dropout"] == "[0.1, 0.6]"
    assert parent.data.tags["event.budget.0"] == "0.5 half of the budget is used"
    assert outcome.ensemble is not None
    assert outcome.ensemble.test is not None
    assert parent.data.metrics["ensemble.test.rmse"] == pytest.approx(outcome.ensemble.test["rmse"])
    assert parent.info.status == "FINISHED"
    client = client_of(uri)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {
        "results.json",
        "trials.json",
    }
    curve = client.get_metric_history(parent.info.run_id, "best_so_far_rmse")
    assert [point.value for point in curve] == sorted((point.value for point in curve), reverse=True)

    trial = outcome.trials[4]
    run = runs["trial 4"]
    history = client.get_metric_history(run.info.run_id, "rmse")
    assert [(point.step, point.value) for point in history] == [(r.epoch, r.rmse) for r in trial.reports]
    assert run.data.params["dropout"] == str(trial.spec.config["dropout"])
    assert run.data.tags["event.train_valid_gap.16"].startswith("epoch 16: 0.171")
    assert run.data.metrics["best_loss"] == trial.loss
    assert (runs["trial 3"].info.status, runs["trial 7"].info.status) == ("KILLED", "FAILED")
    assert "NaN" in runs["trial 7"].data.tags["error"]


def test_a_resumed_run_goes_on_in_the_same_place_and_counts_nothing_twice(store: Path) -> None:
    folder = store / "resumed"
    trials = tuple(make_trial(number) for number in range(5))
    tracker = Tracker.open(folder, name="resumed", params={"trials": 5})
    tell_all(tracker, trials[:2])
    for report in trials[2].reports[:8]:
        tracker.epoch(trials[2].spec, report)
    assert tracker.close(60) == ""
    with (folder / "tracking" / "journal.jsonl").open("a") as file:
        file.write('{"key": "2", "cut sh')  # killed in the middle of a line

    again = Tracker.open(folder, name="resumed", params={"trials": 5}, resume=True)
    for report in trials[2].reports[4:]:
        again.epoch(trials[2].spec, report)
    again.trial_finished(trials[2])
    tell_all(again, trials[3:])
    assert again.close(60) == ""

    uri = default_uri(folder)
    runs = runs_of(uri, "resumed")
    assert len(runs) == 6
    client = client_of(uri)
    for trial in trials:
        history = client.get_metric_history(runs[trial.spec.name].info.run_id, "loss")
        assert sorted(point.step for point in history) == [report.epoch for report in trial.reports]
    done = client.get_metric_history(runs["resumed"].info.run_id, "trials_done")
    assert [point.step for point in done] == [1, 2, 3, 4, 5]


def test_what_was_made_without_our_hearing_of_it_is_found_again(store: Path) -> None:
    """Killed between MLflow's answer and the state on disk: nothing is made a second time."""
    folder = store / "unheard"
    tracker = Tracker.open(folder, name="unheard", params={})
    tell_all(tracker, (make_trial(2),))
    assert tracker.close(60) == ""
    state = json.loads((folder / "tracking" / "state.json").read_text())
    (folder / "tracking" / "state.json").write_text(
        json.dumps({**state, "offset": 0, "ids": {}, "steps": {}})
    )
    assert Tracker.open(folder, name="unheard", params={}, resume=True).close(60) == ""
    runs = runs_of(default_uri(folder), "unheard")
    assert set(runs) == {"unheard", "trial 2"}
    assert runs["trial 2"].data.metrics["best_rmse"] == make_trial(2).rmse


def test_a_release_is_promoted_only_when_it_beats_the_champion_on_gate(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offer(name: str, noise: float) -> tuple[dict[str, Any], Outcome]:
        outcome = make_outcome(store / name, trials=2)
        truth = outcome.dataset.ratings.values[outcome.split.gate]
        drawn = np.random.default_rng(5).normal(0, 1, len(truth))
        predicted = (truth + noise * drawn).astype(np.float32)
        outcome = Outcome(**{**outcome.__dict__, "gate_predictions": predicted})
        release = make_release(outcome.folder, name)
        tracker = Tracker.open(outcome.folder, name=name, params={})
        answer = tracker.promote(outcome, release, release_id=f"id-{name}")
        assert tracker.close(60) == ""
        assert answer is not None
        return answer, outcome

    first, outcome = offer("first-release", 0.9)
    assert (first["promoted"], first["version"]) == (True, "1")
    assert first["reason"] == "there was no champion to beat"
    worse, _ = offer("worse-release", 1.0)
    assert worse["promoted"] is False
    assert worse["low"] > 0
    better, newest = offer("better-release", 0.7)
    assert better["promoted"] is True
    assert better["high"] < 0
    assert better["champion"] == f"{NAME} version 1"

    uri = default_uri(outcome.folder)
    client = client_of(uri)
    aliases = client.get_registered_model(NAME).aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {"champion": "1", "candidate": "3"}
    tags = client.get_model_version(NAME, "3").tags
    assert float(tags["gate.low"]) < float(tags["gate.difference"]) < float(tags["gate.high"]) < 0
    assert tags["run"] == "better-release"
    assert tags["gate.verdict"] == "promoted"
    assert client.get_model_version(NAME, "2").tags["gate.verdict"] == "kept back"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    folder = download_artifacts(f"models:/{NAME}@candidate")
    assert Path(folder) == newest.folder / "release"  # where it lies: nothing is copied

    again = Tracker.open(newest.folder, name="better-release", params={}, resume=True)
    assert again.promote(newest, newest.folder / "release", release_id="id-better-release") == better
    assert again.close(60) == ""
    assert len(client.search_model_versions(f"name='{NAME}'")) == 3


def test_a_split_without_a_gate_promotes_nothing(store: Path) -> None:
    outcome = make_outcome(store / "no-gate", trials=2)
    outcome = Outcome(**{**outcome.__dict__, "gate_predictions": None})
    tracker = Tracker.open(outcome.folder, name="no-gate", params={})
    answer = tracker.promote(outcome, make_release(outcome.folder, "x"), release_id="id-no-gate")
    assert tracker.close(60) == ""
    assert answer is not None
    assert answer["promoted"] is False
    assert "keeps no gate slice" in answer["reason"]


def test_a_server_that_is_away_costs_nothing_and_misses_nothing(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(sending, "FLUSH_S", 0.2)
    monkeypatch.setattr(sending, "FIRST_WAIT_S", 0.1)
    outcome = make_outcome(tmp_path / "away", trials=6)
    write_results(outcome.folder, outcome)

    tracker = Tracker.open(outcome.folder, name="away", params={"trials": 6})
    before = time.monotonic()
    tell_all(tracker, outcome.trials)
    assert time.monotonic() - before < 5  # some 100 lines; a refused call alone would be longer
    answer = tracker.promote(
        outcome, make_release(outcome.folder, "away"), release_id="id-away", deadline_s=0.5
    )
    assert answer is not None
    assert answer["promoted"] is None
    tracker.finish(outcome)
    left = tracker.close(1.0)
    assert "python -m search.tracking" in left
    assert server.uri not in left
    assert resend([str(outcome.folder), "--seconds", "1"]) == 1

    server.up()
    assert resend([str(outcome.folder), "--seconds", "120"]) == 0
    assert "everything is in MLflow" in capsys.readouterr().out
    runs = runs_of(server.uri, "away")
    assert len(runs) == 7
    client = client_of(server.uri)
    for trial in outcome.trials:
        history = client.get_metric_history(runs[trial.spec.name].info.run_id, "rmse")
        assert sorted(point.step for point in history) == [report.epoch for report in trial.reports]
    # The release itself went to the server, and comes back from it whole.
    folder = Path(download_artifacts(f"models:/{NAME}@champion", dst_path=str(tmp_path / "back")))
    assert (folder / "manifest.json").read_text() == "away"
    assert (folder / "members" / "weights.bin").read_bytes() == bytes(1000)

    # It goes away in mid-run and comes back: the run's own sender catches up. What an earlier run
    # beside it could not send goes along.
    server.down()
    left_behind = Tracker.open(tmp_path / "left", name="left", params={})
    tell_all(left_behind, outcome.trials[:1])
    assert left_behind.close(0.5) != ""
    server.up()
    tracker = Tracker.open(tmp_path / "between", name="between", params={})
    tell_all(tracker, outcome.trials[:2])
    time.sleep(0.5)
    server.down()
    tell_all(tracker, outcome.trials[2:3])
    time.sleep(0.5)
    server.up()
    tell_all(tracker, outcome.trials[3:])
    assert tracker.close(120) == ""
    assert len(runs_of(server.uri, "between")) == 7
    assert resend([str(tmp_path / "left"), "--seconds", "60"]) == 0
    assert len(runs_of(server.uri, "left")) == 2


def test_secrets_in_the_address_are_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://someone:planted-password@127.0.0.1:{free.getsockname()[1]}"
        with caplog.at_level(logging.DEBUG):
            tracker = Tracker.open(tmp_path / "secret", name="secret", params={}, uri=uri)
            tell_all(tracker, (make_trial(0),))
            left = tracker.close(3.0)
    assert left
    assert "planted-password" not in left + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(b"planted-password" in path.read_bytes() for path in files)


def test_a_full_disk_under_the_journal_costs_lines_not_the_run(tmp_path: Path) -> None:
    blocked = tmp_path / "run"
    blocked.mkdir()
    (blocked / "tracking").write_text("a file where the folder should be")
    journal = Journal(blocked)
    for _ in range(3):
        journal.append({"key": "run"})
    assert journal.lost == 3


def test_only_one_process_sends_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"key": "run"})
    first, second = Cursor(journal, "sqlite:///x"), Cursor(journal, "sqlite:///x")
    assert first.acquire()
    assert not second.acquire()
    first.offset = 7
    first.save()
    first.release()
    assert second.acquire()
    assert (second.offset, second.fresh) == (7, False)
    second.release()
    elsewhere = Cursor(journal, "sqlite:///other")
    assert elsewhere.acquire()
    assert (elsewhere.offset, elsewhere.fresh) == (0, True)
    elsewhere.release()
