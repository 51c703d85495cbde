"""Tracking into a real MLflow store: a run and its trials, resumed, and sent by one process only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.training.trial_types import EventKind, RunEvent
from search.tracking import Tracker, default_uri
from search.tracking.outbox import Outbox, SendPosition
from tests.search.made_runs import make_run
from tests.search.made_trials import make_trial
from tests.search.tracking.mlflow_runs import client_of, runs_of, tell_all


def test_a_run_becomes_a_parent_with_a_nested_run_for_each_trial(store: Path) -> None:
    run = make_run(store / "nested", trials=9)
    run.write()
    tracker = Tracker.open(run.folder, name="nested", params={"trials": 9, "space": {"dropout": [0.1, 0.6]}})
    tell_all(tracker, run.trials)
    tracker.event(RunEvent(EventKind.BUDGET, 1.0, value=0.5, message="half of the budget is used"))
    tracker.finish(run.results)
    assert tracker.close(60) == ""

    uri = default_uri(run.folder)
    assert uri == f"sqlite:///{store}/mlflow.db"
    runs = runs_of(uri, "nested")
    assert len(runs) == 10
    parent = runs["nested"]
    assert parent.data.params["space.dropout"] == "[0.1, 0.6]"
    assert parent.data.tags["event.budget.0"] == "0.5 half of the budget is used"
    assert run.results.ensemble is not None
    assert run.results.ensemble.test is not None
    assert parent.data.metrics["ensemble.test.rmse"] == pytest.approx(run.results.ensemble.test.rmse)
    assert parent.info.status == "FINISHED"
    client = client_of(uri)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {
        "results.json",
        "trials.json",
    }
    curve = client.get_metric_history(parent.info.run_id, "best_so_far_rmse")
    assert [point.value for point in curve] == sorted((point.value for point in curve), reverse=True)

    trial = run.trials[4]
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


def test_a_full_disk_under_the_journal_costs_lines_not_the_run(tmp_path: Path) -> None:
    blocked = tmp_path / "run"
    blocked.mkdir()
    (blocked / "tracking").write_text("a file where the folder should be")
    journal = Outbox(blocked)
    for _ in range(3):
        journal.append({"key": "run"})
    assert journal.lost == 3


def test_only_one_process_sends_a_journal(tmp_path: Path) -> None:
    journal = Outbox(tmp_path)
    journal.append({"key": "run"})
    first, second = SendPosition(journal, "sqlite:///x"), SendPosition(journal, "sqlite:///x")
    assert first.acquire()
    assert not second.acquire()
    first.offset = 7
    first.save()
    first.release()
    assert second.acquire()
    assert (second.offset, second.fresh) == (7, False)
    second.release()
    elsewhere = SendPosition(journal, "sqlite:///other")
    assert elsewhere.acquire()
    assert (elsewhere.offset, elsewhere.fresh) == (0, True)
    elsewhere.release()
