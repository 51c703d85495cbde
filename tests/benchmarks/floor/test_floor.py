"""The benchmark's command on a tiny world: a table whose marks a loop computes again, and resuming."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys.data.splits import make_split
from recsys.data.synthetic import SyntheticSpec, from_spec
from recsys.models.registry import make_config
from tests.benchmarks.floor.__main__ import main
from tests.benchmarks.floor.roster import LINEAR, NONLINEAR, peers
from tests.benchmarks.floor.table import Line, markdown

pytestmark = pytest.mark.slow

SIZES = ["--users", "60", "--items", "40", "--ratings", "1200", "--nonlinear", "1"]


def run(out: Path, *more: str) -> int:
    return main([*SIZES, "--seeds", "2", "--epochs", "1", "--draws", "64", "--out", str(out), *more])


def test_every_member_is_in_the_table_beside_floor_and_oracle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    folder = tmp_path / "nonlinear-1"
    table = (folder / "floor.md").read_text()
    for entry in NONLINEAR:
        assert f"| **ours**: {entry.step.rung.title} | " in table
    for peer in peers(1.0):
        assert f"| {peer.name} | not measured, needs --python |" in table

    spec = SyntheticSpec(users=60, items=40, ratings=1200, nonlinear=1, drift=0)
    made = from_spec(spec)
    split = make_split(made.dataset, "random,gate=off", seed=0)
    test = made.dataset.ratings.values[split.test].astype(np.float64)
    floor = float(np.sqrt(np.mean((test - made.expected[split.test]) ** 2)))
    oracle = json.loads((folder / "oracle-64.json").read_text())["rmse"]
    assert (
        f"| noise floor: who knows every expected rating | {floor:.4f} | {floor**2:.4f} | +0.00% |" in table
    )
    assert f"| oracle that knows all but the people | {oracle:.4f} |" in table
    assert oracle > floor

    # The blend of both seeds, by hand: each member's stars as they were kept, weighed on valid.
    assert f"ensemble of the {len(NONLINEAR) * 2}, all seeds" in table
    measures = [json.loads(line) for line in (folder / "measures.jsonl").read_text().splitlines()[1:]]
    for entry in measures:
        with np.load(folder / "predictions" / f"{entry['rung']}-{entry['seed']}.npz") as kept:
            error = np.sqrt(np.mean((kept["test_refit"] - test) ** 2))
            assert error == pytest.approx(entry["test_refit"], abs=1e-6)
            assert len(kept["valid"]) == len(split.valid)
    assert table in capsys.readouterr().out


def test_a_cut_off_run_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    record = tmp_path / "nonlinear-1" / "measures.jsonl"
    whole, table = record.read_text(), (tmp_path / "nonlinear-1" / "floor.md").read_text()
    lines = whole.splitlines()
    record.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:30])
    capsys.readouterr()
    assert run(tmp_path) == 0
    assert capsys.readouterr().out.count("test after the refit") == 1
    again = record.read_text().splitlines()
    assert again[:-1] == lines[:-1]
    assert json.loads(again[-1])["test_refit"] == json.loads(lines[-1])["test_refit"]
    shown = [line.split(" | ")[:5] for line in table.splitlines()]
    table = (tmp_path / "nonlinear-1" / "floor.md").read_text()
    assert [line.split(" | ")[:5] for line in table.splitlines()] == shown  # but for the seconds


def test_other_dials_are_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--seeds", "1") == 0
    assert run(tmp_path, "--seeds", "1", "--epochs", "2") == 2
    assert "choose another --out" in capsys.readouterr().err
    assert run(tmp_path, "--seeds", "0") == 2
    assert "must be 1 or more" in capsys.readouterr().err
    assert run(tmp_path, "--python", "/nowhere/python") == 2
    assert "there is no file /nowhere/python" in capsys.readouterr().err


def test_a_python_without_surprise_has_rows_that_say_so(tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    assert run(tmp_path / "out", "--seeds", "1", "--python", str(bare)) == 0
    table = (tmp_path / "out" / "nonlinear-1" / "floor.md").read_text()
    assert "| Surprise SVD++ | not installed: no numpy |" in table


def test_the_table_is_sorted_and_tells_how_far_above() -> None:
    lines = [Line("far", [0.66, 0.66], kl=1.0), Line("near", [0.6]), Line("none", [], problem="no | such")]
    rows = markdown(lines, floor=0.5, oracle=0.55).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| noise floor: who knows every expected rating",
        "| oracle that knows all but the people",
        "| near",
        "| far",
        "| none",
    ]
    assert rows[2].startswith("| near | 0.6000 | 0.3600 | +20.00% | +9.09% | - | 1 | - |")
    assert rows[3].startswith("| far | 0.6600 ± 0.0000 | 0.4456 | +32.00% | +20.00% |")
    assert rows[4].startswith("| none | no / such |")


def test_every_member_has_a_config_that_its_family_takes() -> None:
    for roster in (LINEAR, NONLINEAR):
        assert len({entry.name for entry in roster}) == len(roster)
        for entry in roster:
            make_config(entry.step.rung.family, entry.step.config)
