"""The throughput model, worked by hand, and what a quote says with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from clusters import state as states
from clusters.cli import main
from clusters.cluster_errors import ClusterError
from clusters.forecast import CARDS, Workload, expected_epochs, forecast, memory_gb, step_ms
from clusters.launch import prepare
from clusters.quote import Prices, make_quote
from clusters.spec import RentedSpec
from tests.clusters.played.playing import Play, a_spec

ROOT = Path(__file__).resolve().parents[2]
ML_32M = Workload("ml-32m", 20_500_000, 200_948, 84_432, 20, 0, 16, finish_hours=0.5)


def test_a_step_is_the_longer_of_launches_and_bandwidth() -> None:
    assert step_ms(ML_32M, 768) == 4.7  # 1.9 GB at 768 GB/s are 2.5 ms
    assert step_ms(ML_32M, 100) == pytest.approx(19.0, rel=0.01)


def test_pruning_by_hand() -> None:
    pruned = dataclasses.replace(ML_32M, grace_epochs=4, reduction=2.0)
    assert expected_epochs(pruned) == 4 + 4 / 2 + 8 / 4  # rungs at 4, 8, 16
    assert expected_epochs(ML_32M) == 16


def test_hours_dollars_and_trials_by_hand() -> None:
    gpu = "NVIDIA RTX A6000"
    coming = forecast(ML_32M, gpu, gpus=1, usd_per_hour=0.5, max_hours=6, max_usd=8)
    assert coming is not None
    epoch_hours = 10_010 * 4.7e-3 / 3600
    assert coming.needed_hours == pytest.approx(20 * 16 * epoch_hours + 0.5)
    assert coming.trials == 20
    assert coming.usd == pytest.approx(0.5 * coming.hours)
    short = forecast(ML_32M, gpu, gpus=1, usd_per_hour=0.5, max_hours=2, max_usd=8)
    assert short is not None
    assert (short.trials, short.hours) == (7, 2.0)  # 1.5 h of 4.18 h
    assert "will end at 2.0 h after about 7 of 20 trials" in short.text()
    assert f"needs {coming.needed_hours:.1f} h" in short.text()  # not clipped at the cap
    assert forecast(ML_32M, "a card of tomorrow", gpus=1, usd_per_hour=1, max_hours=1, max_usd=1) is None


def test_a_card_that_cannot_hold_the_plan_is_named() -> None:
    large = dataclasses.replace(ML_32M, users=10_000_000)
    assert memory_gb(large) > CARDS["NVIDIA GeForce RTX 4090"][0]
    prices = Prices("a test", {"NVIDIA RTX A6000": 0.5, "NVIDIA GeForce RTX 4090": 0.75}, {}, 0.0)
    text = make_quote(a_spec(), prices).holding(large).text(large)
    assert "cannot hold the plan: it needs about 41 GB, the card has 24 GB" in text


def test_the_quote_of_the_owners_plan(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["quote", str(ROOT / "clusters/runpod.yaml"), "--offline", "--plan", "ml-32m"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "expected for ml-32m: all " in out


@pytest.mark.failure("a card too small for the plan", "first in the list and free", seen="")
def test_a_card_too_small_for_the_plan_is_passed_over_for_the_next_that_holds_it(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The small one is first in the list and free; the ledger shows what was rented."""
    large = dataclasses.replace(ML_32M, users=10_000_000)
    spec = a_spec(gpus=[{"id": "NVIDIA GeForce RTX 4090"}, {"id": "NVIDIA RTX A6000"}])
    monkeypatch.setattr("clusters.launch.shutil.which", lambda tool: f"/usr/bin/{tool}")
    state = prepare(play.provider, spec, [], out=tmp_path / "run", yes=True, detach=False, workload=large)
    said = capsys.readouterr().out
    assert "passed over: cannot hold the plan: it needs about 41 GB, the card has 24 GB" in said
    assert isinstance(state.cluster_spec, RentedSpec)
    play.provider.rent(state.cluster_spec, state, log=play.said.append)
    (entry,) = play.cloud.ledger()
    assert entry["gpu"] == "NVIDIA RTX A6000"
    play.provider.end(states.load(state.name), log=play.said.append)
    small = a_spec(gpus=[{"id": "NVIDIA GeForce RTX 4090"}])
    with pytest.raises(ClusterError, match="no GPU of the list can hold the plan"):
        prepare(play.provider, small, [], out=tmp_path / "other", yes=True, detach=False, workload=large)
    assert len(play.cloud.ledger()) == 1
