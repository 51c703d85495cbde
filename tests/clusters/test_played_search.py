"""The owner's own command on the played cloud: two nodes, the real search, a release here, nothing left."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from search.tracking.mlflow_writer import EXPERIMENT
from tests.clusters.played.stage import TWO, Stage
from tests.search.webhooks import WebhookServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
TINY = ("--data", "synthetic:users=300,items=200,ratings=8000", "--trials", "3", "--epochs", "2")


def test_breakthrough_on_two_nodes_from_quote_to_release(stage: Stage) -> None:
    cluster = stage.cluster_file(**TWO)  # no shared disk: trial files travel to the head
    command = ("search/breakthrough.py", "--cluster", str(cluster), "--yes", "--out", str(stage.out))
    with WebhookServer() as hook:
        stage.environment["DISCORD_WEBHOOK_URL"] = hook.url
        stage.environment.pop("MLFLOW_TRACKING_URI", None)
        driver = stage.python(*command, *TINY)
        stage.wait_for("search submitted")
        head = stage.cloud.living()[0]
        assert stage.in_pod(head, "cat /root/breakthrough/secrets.json") == "{}"  # told from here
        assert driver.wait(timeout=500) == 0, stage.said()
        messages = b"".join(hook.bodies())
    said = stage.said()
    assert "on the Ray cluster (2 nodes)" in said
    assert "costs at most $" in said
    assert b"Search started" in messages
    assert b"Search finished" in messages
    manifest = json.loads((stage.out / "release" / "manifest.json").read_text())
    assert manifest["complete"] is True
    results = stage.results()
    assert results["trials"]["finished"] >= 3
    assert (results["cluster"]["provider"], results["cluster"]["pods"]) == ("runpod", 2)
    assert (results["cluster"]["nodes"], results["cluster"]["gpu"]) == (2, "NVIDIA RTX A6000")
    assert results["cluster"]["usd_per_hour"] == 1.06
    assert results["promotion"]["promoted"] is True  # judged by this machine's MLflow, not by a pod's
    assert "version 1: promoted" in said
    client = MlflowClient(f"sqlite:///{stage.out.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sum(run.data.tags.get("kind") == "search" for run in runs) == 1
    assert len(runs) == 1 + sum(results["trials"].values())
    assert (stage.out / "report.html").exists()
    assert "fetched and verified" in said
    stage.nothing_is_left()
