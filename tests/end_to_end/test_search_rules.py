"""What a run may know and spend: nothing of held-out ratings, no more than its cap, what an old run found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.data.dataset import Dataset
from recsys.data.splits import make_split
from recsys.release.load import open_release
from search.breakthrough import main
from search.sources import Source
from tests.end_to_end.commands import DATA, TINY, log_of, results_of, run, trial_rows


def write_csv(path: Path, dataset: Dataset, values: np.ndarray) -> None:
    ratings = dataset.ratings
    rows = zip(
        dataset.user_ids[ratings.users],
        dataset.catalogue.ids[ratings.items],
        values.tolist(),
        ratings.times.tolist(),
        strict=True,
    )
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(["user,item,rating,timestamp", *lines]) + "\n")


def test_search_and_blend_never_see_gate_test_or_future(tmp_path: Path) -> None:
    """Garbage in place of every held-out rating changes no trial and no weight of the blend."""
    dataset = Source(DATA).load()
    values = dataset.ratings.values.copy()
    write_csv(tmp_path / "clean.csv", dataset, values)
    clean = Source(str(tmp_path / "clean.csv")).load()
    split = make_split(clean, "future-holdout", seed=0)
    poison = clean.ratings.values.copy()
    hidden = np.concatenate([split.gate, split.test, split.future])
    assert len(hidden) > 1000
    poison[hidden] = np.where(np.arange(len(hidden)) % 2, 0.5, 5.0)
    write_csv(tmp_path / "poisoned.csv", clean, poison)

    for name in ("clean", "poisoned"):
        out = tmp_path / name
        arguments = ["--data", str(tmp_path / f"{name}.csv"), "--scale", "0.5:5", *TINY]
        assert run(out, *arguments, "--split", "future-holdout", "--trials", "3") == 0, log_of(out)
    assert trial_rows(tmp_path / "clean") == trial_rows(tmp_path / "poisoned")
    one, other = (results_of(tmp_path / name) for name in ("clean", "poisoned"))
    assert one["ensemble"]["members"] == other["ensemble"]["members"]
    assert one["ensemble"]["valid"] == other["ensemble"]["valid"]
    assert one["ensemble"]["test"]["rmse"] < other["ensemble"]["test"]["rmse"]


def test_at_the_cap_it_ends_gracefully_and_goes_on_when_given_more(tmp_path: Path) -> None:
    """A dollar a second: the cap comes long before 400 epochs of every trial."""
    out = tmp_path / "capped"
    spend = ["--price", "3600", "--max-cost", "30", "--set", "finish_minutes=0.1"]
    endless = ["--epochs", "4000", "--set", "hybrid_vae.patience=4000", "--set", "reference.enabled=false"]
    assert run(out, "--data", DATA, *TINY, *endless, *spend, "--trials", "2") == 0, log_of(out)
    log = log_of(out)
    assert "costs at most $30.00 = $3600.00/hour x 1 node" in log
    for share in ("50%", "80%"):
        assert f"{share} of the budget is used" in log
    results = results_of(out)
    assert results["status"] == "budget"
    assert results["budget"]["cap_usd"] == 30
    statuses = {row[1] for row in trial_rows(out).values()}
    assert "stopped" in statuses
    open_release(out / "release")


def test_an_older_run_teaches_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = ["--trials", "4", "--set", "reference.enabled=false"]
    old = tmp_path / "old"
    assert run(old, "--data", DATA, *TINY, *short) == 0, log_of(old)

    other = "synthetic:users=90,items=70,ratings=3000,seed=5"
    started = tmp_path / "started"
    assert run(started, "--data", other, *TINY, *short, "--start-from", str(old)) == 0, log_of(started)
    before = {
        json.dumps(row[0]["config"]["learning_rate"])
        for row in trial_rows(old).values()
        if row[0]["family"] == "hybrid_vae"
    }
    given = [row[0] for row in trial_rows(started).values() if row[0]["origin"] == "start-from"]
    assert given
    assert {json.dumps(spec["config"]["learning_rate"]) for spec in given} <= before

    warm = tmp_path / "warm"
    assert run(warm, "--data", DATA, *TINY, *short, "--warm-start", str(old)) == 0, log_of(warm)
    searched = {
        number: row[0]["config"] for number, row in trial_rows(warm).items() if row[0]["origin"] == "search"
    }
    cold = {
        number: row[0]["config"] for number, row in trial_rows(old).items() if row[0]["origin"] == "search"
    }
    assert searched
    assert searched != cold

    monkeypatch.chdir(tmp_path)
    assert main(["--data", other, "--warm-start", str(old)]) == 2
    assert main(["--data", DATA, "--seed", "3", "--warm-start", str(old)]) == 2


def test_two_objectives_show_their_front(tmp_path: Path) -> None:
    out = tmp_path / "front"
    objectives = ["--set", "objectives=[loss, ndcg_at_10]", "--set", "reference.enabled=false"]
    assert run(out, "--data", DATA, *TINY, *objectives) == 0, log_of(out)
    front = results_of(out)["front"]
    assert front
    points = {}
    for number, row in trial_rows(out).items():
        lists = out / "trials" / f"{number:04d}" / "lists.json"
        if row[1] == "finished":
            loss = min(report["loss"] for report in row[4] if report["epoch"] == row[2])
            points[number] = (loss, json.loads(lists.read_text())["ndcg_at_10"])
    for number in front:
        loss, ndcg = points[number]
        assert not any(other_loss < loss and other_ndcg > ndcg for other_loss, other_ndcg in points.values())
