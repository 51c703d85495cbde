"""The ladder of list families: means over seeds of several files, the lowest first, in table and plot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.list_ladder import main


def test_rungs_are_means_over_the_seeds_of_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(seed: int, **ndcg: float) -> dict[str, object]:
        figures = {name: {"ndcg_at_10": value, "precision_at_10": value / 2} for name, value in ndcg.items()}
        alone = {name: figures[name] for name in ndcg if name not in ("searched", "fixed")}
        return {
            "seed": seed,
            "k": 10,
            "alone": alone,
            "searched": figures["searched"],
            "fixed": figures["fixed"],
        }

    first = [row(0, als=0.50, ease=0.48, searched=0.52, fixed=0.49), {"k": 10, "searched": {}, "fixed": {}}]
    second = [row(1, als=0.46, popularity=0.2, searched=0.50, fixed=0.49)]
    for name, rows in (("a.json", first), ("b.json", second)):
        (tmp_path / name).write_text(json.dumps(rows))
    plot = tmp_path / "ladder.svg"
    assert main([str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--out", str(plot)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == [
        "| popularity",
        "| als",
        "| ease",
        "| fixed recipe: ALS + EASE",
        "| searched blend",
    ]
    assert "0.2400 ± 0.1271 | 0.4800 ± 0.2541" in lines[1]  # t with one degree of freedom: 12.706 x 0.02
    assert plot.read_text().count("<circle") == 5
