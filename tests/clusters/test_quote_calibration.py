"""What earlier runs on a card measured comes back in the next quote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusters.cli import main
from clusters.cluster_info import ClusterInfo
from clusters.forecast import CHAIN_SWEEPS, Workload, forecast
from clusters.quote_calibration import FILE, Calibration, calibration_of, note_throughput
from clusters.state import state_root
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.training.trial_types import EpochReport, TrialSpec
from search.config.plan import SearchPlan
from search.run.budget import Meter
from search.run.forecasts import ForecastLog
from search.run.projection import Projector
from search.run.run_plan import budget_of
from search.run.run_state import RunState

ROOT = Path(__file__).resolve().parents[2]
A6000 = "NVIDIA RTX A6000"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def note(folder: Path, name: str, gpu: str = A6000, **ratios: object) -> bool:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"throughput": ratios}))
    return note_throughput(name, gpu, folder)


def test_the_median_of_the_last_runs_on_that_card(tmp_path: Path) -> None:
    assert calibration_of(A6000) == Calibration()
    for number, ratio in enumerate([9.0, 1.0, 2.0, 4.0, 3.0, 5.0]):
        assert note(tmp_path / "run", f"c{number}", network=ratio)
    assert note(tmp_path / "run", "other", gpu="NVIDIA H200", network=0.1)
    assert calibration_of(A6000) == Calibration(network=3.0, chain=1.0, runs=5)  # of 1, 2, 4, 3, 5
    assert note(tmp_path / "run", "c5", network=2.5, chain=0.5)  # the same run, fetched again
    assert calibration_of(A6000) == Calibration(network=2.5, chain=0.5, runs=5)


def test_a_run_that_measured_nothing_is_not_kept(tmp_path: Path) -> None:
    assert not note_throughput("abc", A6000, tmp_path / "nowhere")
    assert not note(tmp_path / "run", "abc")
    assert not note(tmp_path / "run", "abc", network="fast")
    assert not note(tmp_path / "run", "abc", network=-1.0)
    (tmp_path / "run/run.json").write_text('{"schema_version": 1}')
    assert not note_throughput("abc", A6000, tmp_path / "run")
    (state_root() / FILE).write_text('{"gpu": "NVIDIA RTX A6000", "netw')
    assert calibration_of(A6000) == Calibration()


def test_the_quote_is_of_what_the_card_was_seen_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["quote", str(ROOT / "clusters/runpod.yaml"), "--offline", "--plan", "ml-32m"]
    assert main(words) == 0
    before = capsys.readouterr().out
    assert "calibrated" not in before
    note(tmp_path / "run", "abc", network=4.0)
    assert main(words) == 0
    rows = dict(zip(before.splitlines(), capsys.readouterr().out.splitlines(), strict=True))
    changed = [(old, new) for old, new in rows.items() if old != new]
    ((old, new),) = changed  # the other cards are as they were
    assert "expected for ml-32m: all " in old
    assert "will end at 6.0 h after about" in new
    assert new.endswith("(calibrated by an earlier run on this card: a step takes 4.00 x the model's time)")


def test_a_forecast_with_ratios_by_hand() -> None:
    plain = Workload("ml-32m", 20_500_000, 200_948, 84_432, 20, 0, 16)
    chains = Workload("ml-32m", 20_500_000, 200_948, 84_432, 0, 2, 16)
    for workload, ratios in ((plain, {"network_ratio": 2.0}), (chains, {"chain_ratio": 2.0})):
        once = forecast(workload, A6000, gpus=1, usd_per_hour=0.5, max_hours=99, max_usd=99)
        twice = forecast(workload, A6000, gpus=1, usd_per_hour=0.5, max_hours=99, max_usd=99, **ratios)
        assert once is not None
        assert twice is not None
        assert twice.needed_hours == pytest.approx(2 * once.needed_hours)
    shared = forecast(plain, A6000, gpus=1, usd_per_hour=1, max_hours=9, max_usd=9, trials_per_gpu=3)
    assert shared is not None
    assert shared.memory_gb == pytest.approx(3 * once.memory_gb)


def test_a_chain_has_its_sweeps_whatever_its_epochs() -> None:
    """By hand, 20.5M ratings on an A6000: (4 ns + 2,900 B / 768 GB/s) x 20.5M = 0.159 s a sweep."""
    assert BayesMfConfig().sweeps == CHAIN_SWEEPS
    for epochs in (16, 150):
        workload = Workload("ml-32m", 20_500_000, 200_948, 84_432, 0, 1, epochs)
        coming = forecast(workload, A6000, gpus=1, usd_per_hour=0.5, max_hours=99, max_usd=99)
        assert coming is not None
        assert coming.needed_hours * 3600 == pytest.approx(300 * 0.159, rel=0.01)


def test_the_search_notes_what_it_measures_on_a_card() -> None:
    """200,000 ratings are 98 steps of 4.7 ms by the model; here an epoch took 0.9212 s, twice as long."""
    info = ClusterInfo("runpod", "abc", A6000, 1, 1, 1, 2048, 1.0, 0.0, 0.0, 3600.0, 9.0, 6.0)
    plan = SearchPlan(data="ml-1m")
    meter = Meter(budget_of(plan), 0.0)
    projector = Projector(plan, (), RunState(planned=2, clock=lambda: 0.0), meter)
    log = ForecastLog({}, projector, meter)
    log.throughput(plan, info, ratings=200_000)
    assert log.about["throughput"] == {}
    spec = TrialSpec(0, "formula", "hybrid_vae", {}, epochs=2, seed=0)
    projector.epoch(spec, an_epoch(seconds=0.9212))
    log.throughput(plan, info, ratings=200_000)
    assert log.about["throughput"] == {"network": pytest.approx(2.0)}
    log.throughput(plan, None, ratings=200_000)
    assert log.about["throughput"] == {"network": pytest.approx(2.0)}


def an_epoch(*, seconds: float) -> EpochReport:
    figures = dict.fromkeys(EpochReport.__dataclass_fields__, 0.0)
    return EpochReport(**{**figures, "epoch": 1, "seconds": seconds})  # type: ignore[arg-type]
