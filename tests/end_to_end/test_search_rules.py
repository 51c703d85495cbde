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


@dataclass(frozen=True)
class Older:
    """A run that was made before, and the seconds that it took on this machine."""

    out: Path
    seconds: float


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Older:
    out = tmp_path_factory.mktemp("runs") / "older"
    began = time.monotonic()
    assert run(out, "--data", DATA, *TINY, *SHORT) == 0, log_of(out)
    return Older(out, time.monotonic() - began)


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
    dataset = DataSpec(DATA).load()
    values = dataset.ratings.values.copy()
    write_csv(tmp_path / "clean.csv", dataset, values)
    clean = DataSpec(str(tmp_path / "clean.csv")).load()
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


def test_at_its_target_loss_the_search_ends_and_goes_on_without_one(tmp_path: Path) -> None:
    out = tmp_path / "target"
    rule = ["--target-loss", "5"]  # the first trial that ends has it
    assert run(out, "--data", DATA, *TINY, *SHORT, *rule) == 0, log_of(out)
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


def test_an_older_run_gives_its_best_configs_to_other_data(older: Older, tmp_path: Path) -> None:
    out = tmp_path / "started"
    other = "synthetic:users=90,items=70,ratings=2500,seed=5"
    assert run(out, "--data", other, *TINY, *SHORT, "--start-from", str(older.out)) == 0, log_of(out)
    known = [row[0]["config"]["learning_rate"] for row in trial_rows(older.out).values() if is_vae(row)]
    given = [row[0] for row in trial_rows(out).values() if row[0]["origin"] == "start-from"]
    assert given
    assert all(spec["config"]["learning_rate"] in known for spec in given)


def test_an_older_run_on_the_same_data_teaches_the_sampler(
    older: Older, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "warm"
    assert run(out, "--data", DATA, *TINY, *SHORT, "--warm-start", str(older.out)) == 0, log_of(out)
    assert searched(out)
    assert searched(out) != searched(older.out)

    monkeypatch.chdir(tmp_path)
    for other in (["--data", "synthetic:users=90,items=70,ratings=2500"], ["--data", DATA, "--seed", "3"]):
        assert main([*other, "--warm-start", str(older.out)]) == 2


def is_vae(row: Any) -> bool:
    return bool(row[0]["family"] == "hybrid_vae")


def searched(out: Path) -> list[Any]:
    """The configs that the sampler drew."""
    return [row[0]["config"] for row in trial_rows(out).values() if row[0]["origin"] == "search"]


def test_two_objectives_show_their_front(tmp_path: Path) -> None:
    out = tmp_path / "front"
    objectives = ["--set", "objectives=[loss, ndcg_at_10]", "--set", "reference.enabled=false"]
    assert run(out, "--data", DATA, *TINY, *objectives) == 0, log_of(out)
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


def test_trouble_is_seen_acted_on_and_told(tmp_path: Path) -> None:
    """Real faults: a learning rate that explodes, and the formula's latent that collapses on few data."""
    out = tmp_path / "trouble"
    trouble = ["--set", "learning_rate=1e30", "--set", "reference.enabled=false"]
    assert run(out, "--data", DATA, *TINY, *trouble) == 0, log_of(out)
    results = results_of(out)
    seen = {event["kind"] for event in results["warnings"]}
    assert {"diverged", "posterior_collapse"} <= seen
    actions = [event["action"] for event in results["contingencies"]]
    assert any("0.005" in action for action in actions)
    failed = [row for row in trial_rows(out).values() if row[1] == "failed"]
    assert failed
    reasons = [json.loads(path.read_text())["error"] for path in out.glob("trials/*/result.json")]
    assert any("diverged" in reason for reason in reasons)
    assert "diverged" in (out / "report.html").read_text()
    load_release(out / "release")
