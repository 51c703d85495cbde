"""A release as a version of a registered model: promoted on gate, or kept back with its interval."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.artifacts import download_artifacts

from search.tracking import Tracker, default_uri
from search.tracking.promotion import gate_answers
from tests.search.made_runs import MadeRun, make_run
from tests.search.made_runs import make_dataset as made_up
from tests.search.tracking.mlflow_runs import NAME, client_of, make_release

pytestmark = pytest.mark.slow


def test_a_release_is_promoted_only_when_it_beats_the_champion_on_gate(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offer(name: str, noise: float) -> tuple[dict[str, Any], MadeRun]:
        run = make_run(store / name, trials=2)
        truth = run.dataset.ratings.values[run.split.gate]
        drawn = np.random.default_rng(5).normal(0, 1, len(truth))
        predicted = (truth + noise * drawn).astype(np.float32)
        run = dataclasses.replace(run, gate=gate_answers(run.dataset, run.split, predicted))
        release = make_release(run.folder, name)
        tracker = Tracker.open(run.folder, name=name, params={})
        answer = tracker.promote(run.results, release, gate=run.gate, release_id=f"id-{name}")
        assert tracker.close(60) == ""
        assert answer is not None
        return answer, run

    first, run = offer("first-release", 0.9)
    assert (first["promoted"], first["version"]) == (True, "1")
    assert first["reason"] == "there was no champion to beat"
    worse, _ = offer("worse-release", 1.0)
    assert worse["promoted"] is False
    assert worse["low"] > 0
    better, newest = offer("better-release", 0.7)
    assert better["promoted"] is True
    assert better["high"] < 0
    assert better["champion"] == f"{NAME} version 1"

    uri = default_uri(run.folder)
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
    assert Path(folder).name == "id-better-release"  # a copy under its id, which no later refit replaces
    assert (Path(folder) / "manifest.json").read_text() == "better-release"
    assert tags["gate.attempt"] == "2"

    again = Tracker.open(newest.folder, name="better-release", params={}, resume=True)
    assert (
        again.promote(
            newest.results, newest.folder / "release", gate=newest.gate, release_id="id-better-release"
        )
        == better
    )
    assert again.close(60) == ""
    assert len(client.search_model_versions(f"name='{NAME}'")) == 3


def test_a_split_without_a_gate_promotes_nothing(store: Path) -> None:
    run = make_run(store / "no-gate", trials=2)
    tracker = Tracker.open(run.folder, name="no-gate", params={})
    release = make_release(run.folder, "x")
    answer = tracker.promote(run.results, release, gate=None, release_id="id-no-gate")
    assert tracker.close(60) == ""
    assert answer is not None
    assert answer["promoted"] is False
    assert "keeps no gate slice" in answer["reason"]


def test_other_data_of_the_same_name_has_a_champion_of_its_own(store: Path) -> None:
    answers = []
    for seed, sha256 in ((0, "ef" * 32), (9, "01" * 32)):
        name = f"same-name-{seed}"
        made = make_run(store / name, trials=2)
        dataset = dataclasses.replace(made_up(seed=seed), name="ratings", sha256=sha256)
        rows = np.arange(400)
        split = dataclasses.replace(made.split, gate=rows)
        gate = gate_answers(dataset, split, dataset.ratings.values[rows] + 0.5)
        facts = made.results.dataset.model_copy(update={"name": "ratings", "sha256": sha256})
        results = made.results.model_copy(update={"dataset": facts})
        tracker = Tracker.open(made.folder, name=name, params={})
        release = make_release(made.folder, name)
        answers.append(tracker.promote(results, release, gate=gate, release_id=name))
        assert tracker.close(60) == ""
    assert [answer and answer["model"] for answer in answers] == [
        "recommender-ratings-efefefef",
        "recommender-ratings-01010101",
    ]
    assert all(answer and answer["promoted"] for answer in answers)
