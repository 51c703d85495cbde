"""What retraining is expected to bring, from earlier runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from serving.__main__ import main
from serving.domain import ArmSpec, ExperimentState, Feedback
from serving.events.store import EventStore
from serving.loop.retraining_gain import CurvePoint, curve_point, expected_gain
from tests.releases import make_release


def test_the_gain_is_read_off_the_line_through_earlier_releases() -> None:
    points = [CurvePoint(size, 1.5 - 0.05 * math.log(size)) for size in (10_000, 20_000, 40_000)]
    result = expected_gain(points, trained=40_000, new_ratings=40_000)
    assert result.gain == pytest.approx(0.05 * math.log(2))
    assert result.error == pytest.approx(0, abs=1e-9)
    assert (result.trained, result.now, result.points) == (40_000, 80_000, 3)


def test_releases_of_one_size_give_no_slope() -> None:
    for points in ([], [CurvePoint(10_000, 0.9)], [CurvePoint(10_000, 0.9), CurvePoint(10_050, 0.8)]):
        result = expected_gain(points, trained=10_000, new_ratings=500)
        assert result.gain is None
        assert result.words.startswith("no estimate")


def run_of(folder: Path, ratings: int, rmse: float | None, name: str = "synthetic") -> Path:
    folder.mkdir(parents=True)
    row = {"dataset": {"name": name, "ratings": ratings}, "recommender": {"test": {"rmse": rmse}}}
    (folder / "results.json").write_text(json.dumps(row))
    return folder


def test_runs_of_other_data_or_without_a_figure_do_not_count(tmp_path: Path) -> None:
    assert curve_point(run_of(tmp_path / "a", 10, 0.9), dataset="synthetic") == CurvePoint(10, 0.9)
    assert curve_point(run_of(tmp_path / "b", 10, 0.9, "ml-1m"), dataset="synthetic") is None
    assert curve_point(run_of(tmp_path / "c", 10, None), dataset="synthetic") is None
    assert curve_point(tmp_path, dataset="synthetic") is None


def test_the_command_counts_what_was_rated_since(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = make_release(tmp_path / "release")
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    state = ExperimentState("main", 0, "salt", (ArmSpec("main", str(release), 1.0),))
    store.save_experiment(state, expected=0, actor="test")
    store.add(feedback=[Feedback(f"e{n}", None, "u1", "rating", f"i{n}", 4.0, 1e9) for n in range(7)])
    run_of(tmp_path / "runs" / "first", 500, 0.95)
    run_of(tmp_path / "runs" / "second", 1_000, 0.90)
    words = ["worth", "--events", str(tmp_path / "events.db"), "--runs", str(tmp_path / "runs")]
    assert main([*words, "--json", str(tmp_path / "gain.json")]) == 0
    row = json.loads((tmp_path / "gain.json").read_text())
    assert row["now"] == row["trained"] + 7
    assert row["gain"] == pytest.approx(0.05 / math.log(2) * math.log(row["now"] / row["trained"]))
    assert "from 2 runs" in capsys.readouterr().out
