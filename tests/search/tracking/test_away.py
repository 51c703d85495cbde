"""Tracking while its server is away and comes back, and what of the address may be seen."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts

from search.tracking import Tracker
from search.tracking import sender as sending
from search.tracking.__main__ import main as resend
from tests.search.made_runs import make_run
from tests.search.made_trials import make_trial
from tests.search.mlflow_server import MlflowServer
from tests.search.tracking.mlflow_runs import NAME, client_of, make_release, runs_of, tell_all

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


def test_a_server_that_is_away_costs_nothing_and_misses_nothing(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(sending, "FLUSH_S", 0.2)
    monkeypatch.setattr(sending, "FIRST_WAIT_S", 0.1)
    run = make_run(tmp_path / "away", trials=6)
    run.write()

    tracker = Tracker.open(run.folder, name="away", params={"trials": 6})
    before = time.monotonic()
    tell_all(tracker, run.trials)
    assert time.monotonic() - before < 60  # some 100 lines, each far quicker than a call
    answer = tracker.promote(
        run.results,
        make_release(run.folder, "away"),
        gate=run.gate,
        release_id="id-away",
        deadline_s=0.5,
    )
    assert answer is not None
    assert answer["promoted"] is None
    tracker.finish(run.results)
    left = tracker.close(1.0)
    assert "python -m search.tracking" in left
    assert server.uri not in left
    assert resend([str(run.folder), "--seconds", "1"]) == 1

    server.up()
    assert resend([str(run.folder), "--seconds", "120"]) == 0
    assert "everything is in MLflow" in capsys.readouterr().out
    runs = runs_of(server.uri, "away")
    assert len(runs) == 7
    client = client_of(server.uri)
    for trial in run.trials:
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
    tell_all(left_behind, run.trials[:1])
    assert left_behind.close(0.5) != ""
    server.up()
    tracker = Tracker.open(tmp_path / "between", name="between", params={})
    tell_all(tracker, run.trials[:2])
    time.sleep(0.5)
    server.down()
    tell_all(tracker, run.trials[2:3])
    time.sleep(0.5)
    server.up()
    tell_all(tracker, run.trials[3:])
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
