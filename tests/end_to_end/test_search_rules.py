"""What a run may know and spend: nothing of held-out ratings, no more than its cap, what an old run found."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.data.data_spec import DataSpec
from recsys.data.dataset import Dataset
from recsys.data.splits import make_split
from recsys.release.load import load_release
from search.breakthrough import main
from tests.end_to_end.commands import DATA, TINY, log_of, results_of, run, trial_rows

pytestmark = pytest.mark.slow

SHORT = ["--trials", "4", "--set", "reference.enabled=false"]
CLEAN = ["--scale", "0.5:5", "--split", "future-holdout", *TINY, "--trials", "4"]


@dataclass(frozen=True)
class Older:
    """A run that was made before: its data, its folder, and the seconds that it took on this machine."""

    data: str
    out: Path
    seconds: float


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Older:
    folder = tmp_path_factory.mktemp("runs")
    dataset = DataSpec(DATA).load()
    write_csv(folder / "clean.csv", dataset, dataset.ratings.values)
    data, began = str(folder / "clean.csv"), time.monotonic()
    assert run(folder / "older", "--data", data, *CLEAN) == 0, log_of(folder / "older")
    return Older(data, folder / "older", time.monotonic() - began)


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


def test_search_and_blend_never_see_gate_test_or_future(older: Older, tmp_path: Path) -> None:
    """Garbage in place of every held-out rating changes no trial and no weight of the blend."""
    clean = DataSpec(older.data).load()
    split = make_split(clean, "future-holdout", seed=0)
    poison = clean.ratings.values.copy()
    hidden = np.concatenate([split.gate, split.test, split.future])
    assert len(hidden) > 1000
    poison[hidden] = np.where(np.arange(len(hidden)) % 2, 0.5, 5.0)
    write_csv(tmp_path / "poisoned.csv", clean, poison)

    out = tmp_path / "poisoned"
    assert run(out, "--data", str(tmp_path / "poisoned.csv"), *CLEAN) == 0, log_of(out)
    assert trial_rows(older.out) == trial_rows(out)
    one, other = results_of(older.out), results_of(out)
    assert one["ensemble"]["members"] == other["ensemble"]["members"]
    assert one["ensemble"]["valid"] == other["ensemble"]["valid"]
    assert one["ensemble"]["test"]["rmse"] < other["ensemble"]["test"]["rmse"]


def test_at_the_cap_it_ends_gracefully(older: Older, tmp_path: Path) -> None:
    """A dollar a second, epochs without end: half of the cap is the search's, however slow the machine."""
    out = tmp_path / "capped"
    cap = round(2 * older.seconds)
    spend = ["--price", "3600", "--max-cost", str(cap), "--set", "finish_minutes=60"]
    endless = ["--epochs", "100000", "--set", "hybrid_vae.patience=100000", "--set", "pruning.enabled=false"]
    assert run(out, "--data", DATA, *TINY, *SHORT, *endless, *spend) == 0, log_of(out)
    log = log_of(out)
    assert f"costs at most ${cap:.2f} = $3600.00/hour x 1 node" in log
    assert "the budget's share of the search is used up" in log
    assert re.search(r"(50|80|100)% of the budget is used", log)
    results = results_of(out)
    assert results["status"] == "budget"
    assert results["budget"]["cap_usd"] == cap
    rows = trial_rows(out)
    assert "stopped" in {row[1] for row in rows.values()}
    assert len(rows) < len(trial_rows(older.out))
    load_release(out / "release")


def test_taught_by_an_older_run_it_ends_at_its_target_loss_and_goes_on_without_one(
    older: Older, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "target"
    rule = ["--target-loss", "5", "--warm-start", str(older.out)]  # the first trial that ends has that loss
    assert run(out, "--data", older.data, *CLEAN, *rule) == 0, log_of(out)
    assert "at most the 5 of --target-loss: ending the search" in log_of(out)
    results = results_of(out)
    assert results["status"] == "target"
    assert len(trial_rows(out)) < 4
    load_release(out / "release")
    assert run(out, "--resume", "--set", "target_loss=null") == 0, log_of(out)
    results = results_of(out)
    assert results["status"] == "finished"
    (forecast,) = results["forecasts"]
    assert forecast["made"] == "the first epochs"
    assert forecast["trials"] >= 1
    assert forecast["hours_error"] is not None
    assert "Expected by the first epochs" in (out / "report.html").read_text()
    assert searched(out)
    assert searched(out) != searched(older.out)

    monkeypatch.chdir(tmp_path)
    seed = ["--data", older.data, "--scale", "0.5:5", "--split", "future-holdout", "--seed", "3"]
    for other in (["--data", "synthetic:users=90,items=70,ratings=2500"], seed):
        assert main([*other, "--warm-start", str(older.out)]) == 2


def test_started_from_an_older_run_on_other_data_it_shows_the_front_of_two_objectives(
    older: Older, tmp_path: Path
) -> None:
    out = tmp_path / "front"
    other = "synthetic:users=90,items=70,ratings=2500,seed=5"
    objectives = ["--set", "objectives=[loss, ndcg_at_10]", "--set", "reference.enabled=false"]
    assert run(out, "--data", other, *TINY, *objectives, "--start-from", str(older.out)) == 0, log_of(out)
    known = [row[0]["config"]["learning_rate"] for row in trial_rows(older.out).values() if is_vae(row)]
    started = [row[0] for row in trial_rows(out).values() if row[0]["origin"] == "start-from"]
    assert started
    assert all(spec["config"]["learning_rate"] in known for spec in started)

    front = results_of(out)["front"]
    assert front
    points = {}
    for number, row in trial_rows(out).items():
        lists = out / "trials" / f"{number:04d}" / "lists.json"
        if row[1] == "finished" and row[0]["track"] == "rating":
            loss = min(report["loss"] for report in row[4] if report["epoch"] == row[2])
            points[number] = (loss, json.loads(lists.read_text())["ndcg_at_10"])
    for number in front:
        loss, ndcg = points[number]
        assert not any(other_loss < loss and other_ndcg > ndcg for other_loss, other_ndcg in points.values())


def is_vae(row: Any) -> bool:
    return bool(row[0]["family"] == "hybrid_vae")


def searched(out: Path) -> list[Any]:
    """The configs that the sampler drew."""
    return [row[0]["config"] for row in trial_rows(out).values() if row[0]["origin"] == "search"]
