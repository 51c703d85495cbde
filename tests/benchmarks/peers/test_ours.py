"""Our rows beside the peers': from a ladder's measures and from a run's results, of the same split only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.data.loading import load_dataset
from recsys.data.splits import make_split
from recsys.errors import InputError
from search.results.metrics import metrics_on
from tests.benchmarks.peers.__main__ import main
from tests.benchmarks.peers.ours import our_rows
from tests.benchmarks.peers.table import markdown
from tests.search.made_runs import make_run

DATA = "synthetic:users=40,items=30,ratings=560,seed=1"
SPLIT = "random,gate=off"


def run(out: Path, *more: str) -> int:
    return main(
        ["--data", DATA, "--split", SPLIT, "--out", str(out), "--only", "means", "--tries", "1", *more]
    )


def measures(path: Path, fingerprint: str) -> Path:
    """What a ladder of two rungs and two seeds leaves."""
    path.mkdir()
    rungs = [("formula", 1.2, 1.3), ("start", 0.9, 0.95), ("bias", 0.5, 0.5)]
    rows = [
        {"rung": rung, "seed": seed, "valid": valid, "test_refit": test + seed / 50, "kl": 0.5, "seconds": 2}
        for rung, valid, test in rungs
        for seed in range(2)
    ]
    facts = {"split": SPLIT, "fingerprint": fingerprint}
    (path / "measures.jsonl").write_text("\n".join(json.dumps(entry) for entry in [facts, *rows]))
    return path


def test_ours_stands_in_the_same_table_and_only_of_the_same_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = make_split(load_dataset(DATA), SPLIT, seed=0).fingerprint
    same, other = measures(tmp_path / "same", fingerprint), measures(tmp_path / "other", "f" * 64)
    assert run(tmp_path, "--ours", str(same)) == 0
    loss = np.mean([0.95**2, 0.97**2]) + 0.01 * 0.5
    other_family, row = (line for line in capsys.readouterr().out.splitlines() if "**ours**" in line)
    assert "bias, the ladder's `bias`" in other_family
    assert "hybrid_vae, the ladder's `start`" in row  # the best on valid; `formula` is not shown
    assert f"| {loss:.4f} ± " in row
    assert "| 0.9600 ± 0.0141 |" in row
    assert run(tmp_path, "--ours", str(other)) == 2
    assert "was measured on another split" in capsys.readouterr().err


def test_a_runs_best_hybrid_vae_and_ensemble_stand_with_their_figures(tmp_path: Path) -> None:
    made = make_run(tmp_path)
    assert made.results.best is not None
    made = made.having(best_hybrid_vae=made.results.best.model_copy(update={"name": "vae-5"}))
    made.write()
    rows = our_rows(tmp_path, made.split.fingerprint, "rate")
    assert [row.name.split(",")[0] for row in rows] == [
        "**ours**: best single",
        "**ours**: best hybrid VAE",
        "**ours**: ensemble of 3",
    ]
    figures = metrics_on(made.results.ensemble, "test")
    assert rows[2].test == {"loss": [figures.loss], "rmse": [figures.rmse], "mae": [figures.mae]}
    assert (rows[2].trained_on, rows[2].budget) == ("train", "72 trials, 220 s")
    assert markdown(rows, "rate").splitlines()[2].startswith("| **ours**: ensemble of 3 |")  # the best first
    (served,) = our_rows(tmp_path, made.split.fingerprint, "rank")
    assert served.test == {"precision_at_10": [0.421], "ndcg_at_10": [0.485]}
    made.having(plan={**made.results.plan, "retrain_on_valid": True}).write()
    assert {row.trained_on for row in our_rows(tmp_path, made.split.fingerprint, "rate")} == {"train, valid"}
    with pytest.raises(InputError, match="measured on another split"):
        our_rows(tmp_path, "0" * 64, "rate")
