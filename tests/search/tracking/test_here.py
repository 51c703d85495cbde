"""What a rented search wrote is told from this machine: once, in order, files only when they are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from clusters.cluster_info import VARIABLE, ClusterInfo
from recsys.release.load import read_manifest
from recsys.training.trial_types import EventKind, RunEvent
from search.storage.run_dir import RunFolder
from search.tracking import Tracker, forwarding
from search.tracking.forwarding import TrackingForwarder
from search.tracking.mlflow_writer import EXPERIMENT, MlflowWriter
from search.tracking.sender import NullSender
from tests.empty_mlflow import place_empty_mlflow
from tests.releases import make_release
from tests.search.made_runs import make_run
from tests.search.made_trials import make_trial
from tests.search.webhooks import WebhookServer

pytestmark = pytest.mark.slow

FACTS = ClusterInfo("runpod", "abc", "A6000", 1, 1, 1, 2048, 0.53, 0.01, 0.0, 9e9, 8.0, 6.0)


@pytest.fixture
def rented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder as a rented head leaves it: journal and events, nothing sent."""
    (tmp_path / "facts.json").write_text(FACTS.to_json())
    monkeypatch.setenv(VARIABLE, str(tmp_path / "facts.json"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DISCORD_WEBHOOK_URL", raising=False)
    folder = tmp_path / "runs" / "rented"
    folder.parent.mkdir()
    place_empty_mlflow(folder.parent / "mlflow.db")
    run = make_run(folder, trials=2)
    tracker = Tracker.open(folder, name="rented", params={})
    assert isinstance(tracker._sender, NullSender)
    for trial in run.trials:
        tracker.trial_finished(trial)
    RunFolder(folder).event(RunEvent(EventKind.STARTED, at=1.0, message="started rented"))
    return folder


def nested(folder: Path) -> int:
    """How many runs the MLflow beside the run folder has."""
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return 0 if experiment is None else len(client.search_runs([experiment.experiment_id]))


def test_each_fetch_tells_what_is_new_and_nothing_twice(rented: Path) -> None:
    with WebhookServer() as hook:
        first = TrackingForwarder(rented, notify=hook.url)
        first(rented)
        first(rented)
        assert first.close() == ""
        RunFolder(rented).event(RunEvent(EventKind.FINISHED, at=2.0, message="all done"))
        Tracker.open(rented, name="rented", params={}, resume=True).trial_finished(make_trial(7))
        second = TrackingForwarder(rented, notify=hook.url)  # the laptop was killed, and came back
        second(rented)
        second.close()
        messages = b"".join(hook.bodies())
    assert messages.count(b'"text": "started rented"') == 1
    assert messages.count(b'"text": "all done"') == 1
    assert nested(rented) == 1 + 3


def test_the_release_is_judged_here_once_all_of_it_has_come(
    rented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(rented, trials=2)
    tracker = Tracker.open(rented, name="rented", params={}, resume=True)
    release = make_release(rented / "release")
    name = read_manifest(release).release_id
    promotion = tracker.promote(run.results, release, gate=run.gate, release_id=name)
    assert promotion is not None
    assert promotion["promoted"] is None
    assert "the machine that rented this one" in promotion["reason"]
    speaker = TrackingForwarder(rented)
    speaker(rented)
    with monkeypatch.context() as patch:
        patch.setattr(forwarding, "CLOSE_S", 1.0)  # the release is waited for in vain
        speaker.close()
    client = MlflowClient(f"sqlite:///{rented.parent / 'mlflow.db'}")
    assert client.search_registered_models() == []  # no results.json: the last fetch did not come
    run.having(promotion=promotion).write()
    assert " version 1: promoted, " in TrackingForwarder(rented).close()
    assert len(client.search_registered_models()) == 1


def test_the_experiments_name_in_the_environment_is_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = place_empty_mlflow(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "films of mine")
    MlflowWriter(uri, artifacts=tmp_path / "artifacts")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert client.get_experiment_by_name("films of mine") is not None
    assert client.get_experiment_by_name(EXPERIMENT) is None
