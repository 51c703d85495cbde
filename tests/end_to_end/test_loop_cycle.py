"""A cycle by the real commands on tiny data: served ratings, a search, the gate, and what stays as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recsys.data.data_spec import DataSpec
from recsys.release.load import read_manifest
from serving.domain import ArmSpec, ExperimentState, Feedback
from serving.events.store import EventStore
from serving.loop.loop_journal import read_journal
from tests.empty_mlflow import place_empty_mlflow
from tests.end_to_end.commands import PATIENCE_S, ROOT, TINY, log_of, run

DATA = "synthetic:users=300,items=100,ratings=9000"
FEW = [*TINY, "--trials", "2", "--set", "reference.enabled=false", "--set", "list_trials=1"]
BETTER = [*FEW, "--set", "points=[bayes_mf]"]  # what learns in seconds


def served_ratings(count: int) -> list[Feedback]:
    """What people gave since: ratings of another draw from the same world."""
    dataset = DataSpec(data=DATA).load()
    rows, now = np.random.default_rng(3).choice(len(dataset.ratings), count, replace=False), time.time()
    users, items = dataset.user_ids, dataset.catalogue.ids
    return [
        Feedback(
            f"r{row}",
            None,
            str(users[dataset.ratings.users[row]]),
            "rating",
            str(items[dataset.ratings.items[row]]),
            float(dataset.ratings.values[row]),
            now - 100,
        )
        for row in rows.tolist()
    ]


@pytest.mark.slow
def test_served_ratings_become_a_release_that_must_win_to_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place_empty_mlflow(tmp_path / "mlflow.db"))
    champion = tmp_path / "champion"
    assert run(champion, "--data", DATA, *FEW) == 0, log_of(champion)
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    arms = (ArmSpec("main", str(champion / "release"), 1.0),)
    store.save_experiment(ExperimentState("main", 0, "salt", arms), expected=0, actor="test")
    store.add(feedback=served_ratings(300))
    server = {"events": str(tmp_path / "events.db"), "operations": {"window_seconds": 0.5}}
    application = {"import_path": "serving.app:build", "args": server}
    (tmp_path / "serve.yaml").write_text(json.dumps({"applications": [application]}))
    settings = {
        "serve": str(tmp_path / "serve.yaml"),
        "folder": str(tmp_path / "loop"),
        "poll_seconds": 0.2,
        "triggers": {"new_ratings": 200},
        "search": {"options": BETTER},
        # Nobody asks for lists: a release that the gate lets through cannot go further.
        "comparison": {"longest_hours": 0.0003},
    }
    (tmp_path / "loop.yaml").write_text(json.dumps(settings))

    def loop(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving", "loop", *words, "--config", str(tmp_path / "loop.yaml")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )

    done = loop("--once")
    assert done.returncode == 0, done.stderr
    decisions = [row for row in read_journal(tmp_path / "loop" / "journal.jsonl") if row.kind == "decision"]
    assert [row.phase for row in decisions][:4] == ["idle", "dataset", "search", "gate"], done.stderr
    assert decisions[2].evidence["exit_code"] == 0
    assert decisions[3].evidence["champion_release"] == read_manifest(champion / "release").release_id
    assert decisions[-1].next == "idle"
    made = tmp_path / "loop" / "cycle-0001" / "run"
    release = made / "release"
    assert (
        f"{tmp_path / 'events.db'}#300,0" in (made / "plan.yaml").read_text()
    )  # a resume reads the same rows
    state = store.experiment("main")
    assert state is not None
    assert state.arms == arms
    lineage = read_manifest(release).dataset.lineage
    assert lineage is not None
    assert (lineage["served"], lineage["base"]) == (300, DataSpec(data=DATA).load().sha256)
    assert [row.data["next"] for row in store.journal(kind="loop")] == [row.next for row in decisions]
    assert loop("replay").stdout == f"{len(decisions)} decisions, 0 of them different\n"
