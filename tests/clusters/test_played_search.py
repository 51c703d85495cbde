"""The owner's own command on the played cloud: two nodes, the real search, a release here, nothing left."""

from __future__ import annotations

import json

import pytest

from tests.clusters.played.stage import TWO, Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
TINY = ("--data", "synthetic:users=300,items=200,ratings=8000", "--trials", "3", "--epochs", "2")


def test_breakthrough_on_two_nodes_from_quote_to_release(stage: Stage) -> None:
    cluster = stage.cluster_file(**TWO)  # no shared disk: trial files travel to the head
    command = ("search/breakthrough.py", "--cluster", str(cluster), "--yes", "--out", str(stage.out))
    driver = stage.python(*command, *TINY)
    assert driver.wait(timeout=500) == 0, stage.said()
    said = stage.said()
    assert "on the Ray cluster (2 nodes)" in said
    assert "costs at most $" in said
    manifest = json.loads((stage.out / "release" / "manifest.json").read_text())
    assert manifest["complete"] is True
    results = stage.results()
    assert results["trials"]["finished"] >= 3
    assert (stage.out / "report.html").exists()
    assert "fetched and verified" in said
    stage.nothing_is_left()
