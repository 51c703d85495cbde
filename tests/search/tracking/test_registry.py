"""A release as a version of a registered model: promoted on gate, or kept back with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.artifacts import download_artifacts

from search.results.outcome import Outcome
from search.tracking import Tracker, default_uri
from tests.search.outcomes import make_outcome
from tests.search.tracking.mlflow_runs import NAME, client_of, make_release

pytestmark = pytest.mark.slow


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
