"""A mistyped request for a cluster ends with 2 here: nothing rented, no request sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from search.breakthrough import main
from tests.clusters.played.playing import FIELDS, Play, playing

MISTYPED = [
    (["--plan", "nosuchplan"], "nosuchplan"),
    (["--data", "ml-32n"], "ml-32"),
    (["--data", "nosuch/ratings.csv"], "no such file"),
    (["--data", "synthetic:users=5,itemz=9"], "itemz"),
    (["--split", "randon"], "randon"),
    (["--split", "folds:u9"], "folds"),
    (["--set", "trails=9"], "trails"),
    (["--set", "dropout=lots"], "dropout"),
    (["--set", "kl_weight=0.5"], "kl_weight"),
    (["--set", "factors=4000"], "factors"),
    (["--set", "batch_size=4096"], "batch_size"),
    (["--trials", "1"], "trials"),
    (["--price", "-1"], "price"),
    (["--max-hours", "0"], "max_hours"),
    (["--scale", "5:1"], "--scale"),
    (["--warm-start", "runs/nosuch"], "warm-start"),
    (["--start-from", "runs/nosuch"], "start-from"),
]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    with playing(tmp_path, monkeypatch) as made:
        yield made


@pytest.mark.parametrize(("arguments", "named"), MISTYPED, ids=lambda value: str(value)[:40])
def test_a_mistyped_option_is_refused_before_the_quote(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(yaml.safe_dump(FIELDS))
    words = ["--cluster", str(cluster), "--out", str(tmp_path / "run"), "--yes", *arguments]
    assert main(words) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert "quote" not in said.out
    assert play.cloud.calls == []
    assert not (tmp_path / "run").exists()
