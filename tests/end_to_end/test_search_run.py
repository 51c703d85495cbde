"""One command, start to release; cut off in every way and gone on with, the figures are the same."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from tests.end_to_end.commands import (
    DATA,
    TINY,
    ended,
    figures_of,
    log_has,
    log_of,
    next_rating_trial,
    results_of,
    run,
    start,
    tiny_disk,
    trial_rows,
    trials_done,
    wait_for,
    worker_of,
)

pytestmark = pytest.mark.slow

PLANNED = 11  # 5 trials, 2 references, 1 baseline, 3 list trials


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run(out, "--data", DATA, *TINY) == 0, log_of(out)
    return out


def test_it_leaves_all_that_it_promises(whole: Path) -> None:
    results = results_of(whole)
    assert len(trial_rows(whole)) == PLANNED
    for name in ("formula", "formula_recalibrated", "best", "ensemble"):
        for part in ("valid", "test"):
            assert results[name][part]["loss"] > 0
            assert results[name][part]["rmse"] > 0
    assert set(results["baselines"]) == {"bias"}
    assert set(results["lists"]["trials"]) == {"8", "9", "10"}
    assert {member["trial"] for member in results["lists"]["members"]} <= {8, 9, 10}
    assert 0 <= results["recommender"]["test"]["ndcg_at_10"] <= 1
    assert "<html" in (whole / "report.html").read_text()[:300].lower()
    answer = Recommender(load_release(whole / "release")).recommend([Query(user=3)])[0]
    assert len(answer.recommendations) == 10


def test_the_order_is_formula_template_then_the_search(whole: Path) -> None:
    rows = trial_rows(whole)
    assert [rows[number][0]["origin"] for number in range(4)] == [
        "formula",
        "template",
        "reference",
        "reference",
    ]
    assert rows[1][0]["name"] == "optimised, scaled"
    assert not any(rows[number][0]["prunable"] for number in range(4))
    assert not list(whole.glob("trials/*/checkpoint"))


def test_cut_off_in_every_way_and_gone_on_with_it_comes_to_the_same(whole: Path, tmp_path: Path) -> None:
    """Killed, then a full disk, then interrupted once (which leaves a release), then a worker dies."""
    out = tmp_path / "cut"
    process = start(out, "--data", DATA, *TINY)
    wait_for(lambda: trials_done(out) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert trials_done(out) < PLANNED

    kept = (out / "events.jsonl").rename(out / "events.kept")
    (out / "events.jsonl").symlink_to("/dev/full")
    assert run(out, "--resume") == 1
    assert log_has(out, "No space left on device", "--resume")

    (out / "events.jsonl").unlink()
    kept.rename(out / "events.jsonl")
    before = trials_done(out)
    process = start(out, "--resume")
    wait_for(lambda: trials_done(out) > before, process)
    process.send_signal(signal.SIGINT)
    assert ended(process) == 130
    assert before < trials_done(out) < PLANNED
    assert results_of(out)["status"] == "interrupted"
    load_release(out / "release")

    process, workers = start(out, "--resume"), list[int]()
    wait_for(lambda: workers.extend(worker_of(process.pid)) or workers, process)
    os.kill(workers[0], signal.SIGKILL)
    assert ended(process) == 0, log_of(out)
    assert trial_rows(out) == trial_rows(whole)
    assert figures_of(out) == figures_of(whole)
    load_release(out / "release")


def test_interrupted_twice_it_stops_and_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = start(out, "--data", DATA, *TINY, "--epochs", "5000", "--set", "hybrid_vae.patience=5000")
    wait_for(lambda: list(out.glob("trials/*/checkpoint/*")), process)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "ending: running trials stop" in log_of(out), process)
    process.send_signal(signal.SIGINT)
    assert ended(process) == 130
    assert f"--out {out.name} --resume" in log_of(out)


@pytest.mark.system
def test_a_disk_that_fills_up_in_mid_checkpoint_ends_the_run_and_costs_nothing(
    whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "full"
    process = start(out, "--data", DATA, *TINY)
    wait_for(lambda: trials_done(out) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = next_rating_trial(out)
    with tiny_disk(folder):
        assert run(out, "--resume") == 1
        assert not list(folder.glob("checkpoint/*"))  # no half of one
    assert log_has(out, "the disk is full: [Errno 28] No space left on device", "--resume")

    assert run(out, "--resume") == 0, log_of(out)
    assert trial_rows(out) == trial_rows(whole)
    assert figures_of(out) == figures_of(whole)
