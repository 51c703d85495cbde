"""Planted secrets are nowhere: not in logs, results, report, MLflow's store or files, nor in the journal."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from recsys.notifications import Notifier, without_webhook
from search.report import write_report
from search.report.plot import progress_png
from search.results import read_results, summary_text
from search.tracking import Tracker
from tests.search.made_runs import make_run
from tests.search.mlflow_server import MlflowServer
from tests.search.webhooks import WebhookServer

pytestmark = pytest.mark.slow

PLANTED = "planted-secret-token"


def test_planted_secrets_are_nowhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A whole run's telling, with every secret that the environment can hold, on a real MLflow server."""
    caplog.set_level(logging.DEBUG)
    for name in ("RUNPOD_API_KEY", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, PLANTED)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    server = MlflowServer(tmp_path / "server")
    server.folder.mkdir()
    server.up()
    with WebhookServer(lambda n: (500, {}) if n == 0 else (204, {})) as hook:
        monkeypatch.setenv("DISCORD_WEBHOOK_URL", hook.url)
        monkeypatch.setenv(
            "MLFLOW_TRACKING_URI", server.uri.replace("http://", f"http://somebody:{PLANTED}@")
        )
        folder = tmp_path / "run"
        run = make_run(folder, trials=4)
        given = ["--trials", "4", "--notify", hook.url]
        command = ("python", "search/breakthrough.py", *without_webhook(given))
        run = run.having(command=list(command))
        notifier = Notifier.from_environment(hook.url)
        tracker = Tracker.open(folder, name="run", params=run.results.plan)
        for event in run.events:
            notifier.event(event)
            tracker.event(event)
        for trial in run.trials:
            tracker.trial_finished(trial)
        run.write()
        write_report(folder)
        tracker.finish(run.results)
        notifier.finish(summary_text(read_results(folder), folder), progress_png(run.trials))
        left = tracker.close(60)
        assert notifier.close(120) == 0
        messages = b"".join(hook.bodies())
    server.stop()
    assert left == ""
    assert messages
    assert PLANTED.encode() not in messages
    shown = capfd.readouterr()
    assert PLANTED not in caplog.text + shown.out + shown.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"server.db", "results.json", "report.html", "journal.jsonl", "state.json"} <= {
        p.name for p in files
    }
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []
