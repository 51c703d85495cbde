"""The ladder end to end on synthetic ratings: every rung's config, resuming, intervals, the plot."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from recsys.data.loading import load_dataset
from recsys.models.registry import make_config
from tests.benchmarks.ablation.__main__ import main
from tests.benchmarks.ablation.rungs import LADDER, steps
from tests.benchmarks.ablation.table import MeanInterval

pytestmark = pytest.mark.slow

DATA = "synthetic:users=60,items=50,ratings=1200,seed=1"


def run(out: Path, *more: str) -> int:
    common = ["--data", DATA, "--split", "random", "--epochs", "2", "--seeds", "2", "--device", "cpu"]
    return main([*common, "--rungs", "bias,mf", "--out", str(out), *more])


def test_every_rung_changes_a_config_that_its_family_takes() -> None:
    for step in steps():
        make_config(step.rung.family, step.config)
    whole = [step.config for step in steps() if not step.rung.reference]
    assert whole[0] == {}
    assert whole[-1]["start"] == "factorisation"
    assert whole[-1]["normalisation"] == "layer"
    assert len({rung.name for rung in LADDER}) == len(LADDER)


def test_a_run_leaves_measures_a_table_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    measures = [json.loads(line) for line in (tmp_path / "measures.jsonl").read_text().splitlines()[1:]]
    assert [(entry["rung"], entry["seed"]) for entry in measures] == [
        ("bias", 0),
        ("mf", 0),
        ("bias", 1),
        ("mf", 1),
    ]
    assert all(0 < entry["test_refit"] < 2 for entry in measures)
    table = (tmp_path / "ladder.md").read_text()
    assert "| bias baseline |" in table
    assert "± " in table
    losses = [entry["test"] ** 2 + 0.01 * entry["kl"] for entry in measures if entry["rung"] == "mf"]
    assert f"| {np.mean(losses):.4f} ± " in table
    floor = load_dataset(DATA).noise_floor
    assert floor is not None
    assert f"| noise floor: no model can be below it | | {floor:.4f} | {floor**2:.4f} |" in table
    root = ElementTree.parse(tmp_path / "ladder.svg").getroot()
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 2
    assert "bias baseline" in capsys.readouterr().out


def test_a_cut_off_run_goes_on_where_it_was(tmp_path: Path) -> None:
    run(tmp_path)
    record = tmp_path / "measures.jsonl"
    whole = record.read_text().splitlines()
    record.write_text("\n".join(whole[:3]) + "\n")
    assert run(tmp_path) == 0
    again = record.read_text().splitlines()
    assert again[:3] == whole[:3]
    for entry, other in zip(whole[1:], again[1:], strict=True):
        first, second = json.loads(entry), json.loads(other)
        assert first["test_refit"] == second["test_refit"]


def test_another_length_is_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    assert run(tmp_path, "--epochs", "3") == 2
    assert "choose another --out" in capsys.readouterr().err


def test_an_unknown_rung_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--rungs", "formular") == 2
    assert "there is no rung 'formular'; did you mean formula" in capsys.readouterr().err


def test_the_untrained_start_is_measured_without_an_epoch(tmp_path: Path) -> None:
    assert run(tmp_path, "--rungs", "start-only", "--seeds", "1") == 0
    entry = json.loads((tmp_path / "measures.jsonl").read_text().splitlines()[1])
    assert entry["epochs"] == 0
    assert entry["test"] < 2


def test_the_interval_is_students() -> None:
    values = [0.9, 0.91, 0.95]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    got = MeanInterval.of(values)
    assert (got.mean - got.half, got.mean + got.half) == pytest.approx(expected)
    assert str(MeanInterval.of([0.9])) == "0.9000"
