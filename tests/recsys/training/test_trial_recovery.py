"""Real training failures: what is changed against each, and when a trial gives up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.models.registry import make_config
from recsys.training.recovery import choose_recovery
from recsys.training.serialization import trial_from_json
from recsys.training.trial import TrainingFailed, Trial
from recsys.training.trial_types import EventKind, TrialStatus
from tests.recsys.training.small_trials import DATA, REPAIRED, kinds, run, spec


def test_an_exploding_learning_rate_is_calmed(tmp_path: Path) -> None:
    fields = {"learning_rate": 0.5, "gradient_clip": 0.0, "normalisation": "none"}
    trial = run(Trial(spec(fields), DATA, folder=tmp_path, device="cpu"))
    result = trial.finish(TrialStatus.FINISHED)
    assert result.rmse is not None
    assert np.isfinite(result.rmse)
    done = [event for event in result.events if event.kind is EventKind.CONTINGENCY]
    assert done[0].action.startswith("KL weight 0.01 -> 0.005")
    assert all(event.outcome for event in done)
    assert trial.config.kl_weight == 0.005
    assert EventKind.DIVERGED in kinds(trial)
    assert EventKind.GRADIENT in kinds(trial)


def test_a_hopeless_learning_rate_ends_with_its_reason(tmp_path: Path) -> None:
    fields = {"learning_rate": 1e4, "gradient_clip": 0.0, "normalisation": "none"}
    trial = Trial(spec(fields), DATA, folder=tmp_path, device="cpu")
    with pytest.raises(TrainingFailed, match="diverged in epoch 1"):
        run(trial)
    done = [event for event in trial.events if event.kind is EventKind.CONTINGENCY]
    assert [event.outcome for event in done] == ["it happened again"] * 3
    assert "learning rate 10000 -> 5000" in done[1].action
    result = trial.finish(TrialStatus.FAILED, "diverged")
    assert (result.rmse, result.best_epoch, result.status) == (None, None, TrialStatus.FAILED)


def test_a_collapsing_posterior_gets_free_bits(tmp_path: Path) -> None:
    # Dot product and biases explain these ratings: KL pressure then shuts a latent that nobody needs.
    fields = {"kl_weight": 0.015, "learning_rate": 0.01, "learning_rate_schedule": "constant", "dropout": 0.5}
    trial = run(Trial(spec(fields, epochs=40), DATA, folder=tmp_path, device="cpu"))
    trial.finish(TrialStatus.FINISHED)
    collapses = [event for event in trial.events if event.kind is EventKind.COLLAPSE]
    assert collapses[0].value is not None
    done = [event for event in trial.events if event.message.startswith("posterior_collapse")]
    assert done[0].action == "free bits 0 -> 2"
    assert done[0].outcome.startswith("went on")
    assert trial.config.free_bits >= 2
    assert len(done) <= 2


def test_poor_convergence_gets_warmup(tmp_path: Path) -> None:
    fields = {"learning_rate": 1e-9, "learning_rate_schedule": "constant"}
    trial = run(Trial(spec(fields, epochs=10), DATA, folder=tmp_path, device="cpu"))
    trial.finish(TrialStatus.FINISHED)
    assert EventKind.PLATEAU in kinds(trial)
    done = [event for event in trial.events if event.kind is EventKind.CONTINGENCY]
    assert done[0].action == "1 warm-up epochs of learning rate added"
    assert trial.config.warmup_start == done[0].epoch


@pytest.mark.parametrize("origin", ["formula", "template", "reference"])
def test_a_yardstick_is_trained_as_written(origin: str, tmp_path: Path) -> None:
    fields = {"learning_rate": 1e-9, "learning_rate_schedule": "constant"}
    trial = run(Trial(spec(fields, epochs=10, origin=origin), DATA, folder=tmp_path, device="cpu"))
    assert EventKind.PLATEAU in kinds(trial)
    assert EventKind.CONTINGENCY not in kinds(trial)
    assert trial.config.warmup_epochs == 0


def process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.recsys.training.out_of_memory", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.slow
def test_out_of_memory_goes_on_with_a_smaller_batch() -> None:
    figures = process()
    assert (figures["epochs"], figures["batch_size"], figures["error"]) == (3, 1536, "")
    kinds_seen = [event["kind"] for event in figures["events"]]
    assert kinds_seen[-2:] == ["out_of_memory", "contingency"]
    done = figures["events"][-1]
    assert done["action"] == "batch 2048 -> 1536, on from the last good epoch"
    assert done["outcome"].startswith("went on: after epoch 3")


@pytest.mark.slow
def test_out_of_memory_without_hope_fails_once_answered() -> None:
    figures = process("hopeless")
    assert figures["epochs"] == 1
    assert figures["error"].startswith("out_of_memory in epoch 2")
    assert [event["kind"] for event in figures["events"]].count("contingency") == 1


def test_a_low_kl_weight_is_not_raised_and_an_epoch_is_not_repeated_unchanged() -> None:
    def action(**fields: Any) -> Any:
        config = make_config("hybrid_vae", {**REPAIRED, **fields})
        return choose_recovery(EventKind.DIVERGED, config, epoch=3, epochs=20, so_far={})

    assert action(kl_weight=0.01).changes == {"kl_weight": 0.005, "kl_schedule": "constant"}
    assert action(kl_weight=0.001).changes == {"learning_rate": 0.0025}
    assert action(kl_schedule="cosine", kl_end=0.012).changes["kl_weight"] == 0.005
    assert action(kl_schedule="cosine", kl_start=0.001, kl_end=0.004).changes == {"learning_rate": 0.0025}


@pytest.mark.parametrize("origin", ["formula", "search"])
def test_a_reference_is_untouched_and_the_trained_config_is_shown(
    origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One epoch's rmse is made to look ten times too high."""
    trial = Trial(spec({}, epochs=4, origin=origin, early_stop=False), DATA, folder=tmp_path, device="cpu")
    plain, calls = trial._epoch, []

    def epoch(started: float) -> Any:
        report, figures = plain(started)
        calls.append(1)
        return (replace(report, rmse=10 * report.rmse) if len(calls) == 2 else report), figures

    monkeypatch.setattr(trial, "_epoch", epoch)
    result = run(trial).finish(TrialStatus.FINISHED)
    assert EventKind.DIVERGED in kinds(trial)
    touched = origin == "search"
    assert (EventKind.CONTINGENCY in kinds(trial)) == touched
    assert len(calls) == (5 if touched else 4)
    assert result.spec.config.get("kl_weight", 0.01) == 0.01
    assert result.trained_config.get("kl_weight", 0.01) == (0.005 if touched else 0.01)
    stored = trial_from_json(json.loads((tmp_path / "result.json").read_text()))
    assert stored.trained_config == result.trained_config
