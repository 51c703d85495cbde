"""The plot of growth: every part is on it, and what is kept is not measured again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks import growth


def test_kept_figures_are_plotted_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"reading a file": 0.5, "split": 0.1, growth.MEMORY: 1.5}
    kept, drawn = tmp_path / "growth.json", tmp_path / "growth.svg"
    kept.write_text(json.dumps({"0.25": parts, "0.5": {name: 2 * value for name, value in parts.items()}}))
    words = ["--fractions", "0.25", "0.5", "--json", str(kept), "--plot", str(drawn), "--title", "Played"]
    monkeypatch.setattr(sys, "argv", ["growth", *words])
    monkeypatch.setattr(growth.subprocess, "run", None)
    growth.main()
    text = drawn.read_text()
    assert all(f"<!-- {name} -->" in text for name in ("Played", "reading a file", "split", "1/4", "1/2"))
    assert f"<!-- {growth.MEMORY} (GB, right) -->" in text


def test_a_file_of_ratings_as_movielens_has_them(tmp_path: Path) -> None:
    ratings = growth.ratings_of_shape(1 / 100_000)
    lines = growth.write_csv(ratings, tmp_path).read_text().splitlines()
    assert lines[0].replace('"', "") == "userId,movieId,rating,timestamp"
    assert len(lines) == 1 + len(ratings)
