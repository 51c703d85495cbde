"""Trials: exact continuation, real faults and what was done about them, what is left on disk."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import InputError
from recsys.models.artifact import load_artifact
from recsys.models.registry import FAMILIES, make_config
from recsys.training.checkpoint import read_checkpoint, write_checkpoint
from recsys.training.recovery import choose_recovery
from recsys.training.serialization import trial_from_json
from recsys.training.trial import TrainingFailed, Trial
from recsys.training.trial_types import EventKind, TrialSpec, TrialStatus
from tests.small_ratings import checkerboard, history_of, training_data

DATA = training_data(checkerboard(users=120, items=80))
REPAIRED: dict[str, Any] = {
    "factors": 16,
    "hidden": [32, 16],
    "latent": 8,
    "biases": True,
    "dot_product": 8,
    "history": "ratings",
    "normalisation": "layer",
    "embedding_scale": 0.05,
    "learning_rate": 5e-3,
    "dropout": 0.1,
}

STARTED: dict[str, Any] = {
    "start": "factorisation",
    "start_factors": 3,
    "start_rank": 6,
    "start_sweeps": 20,
}


def spec(fields: dict[str, Any], *, epochs: int = 6, **others: Any) -> TrialSpec:
    return TrialSpec(4, "test", "hybrid_vae", {**REPAIRED, **fields}, epochs=epochs, seed=5, **others)


def run(trial: Trial) -> Trial:
    while not trial.finished:
        trial.step()
    return trial


def kinds(trial: Trial) -> list[EventKind]:
    return [event.kind for event in trial.events]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"ema_decay": 0.9, "learning_rate_schedule": "cosine", "kl_schedule": "cosine", "warmup_epochs": 2},
        {"swa_start": 0.5, "normalisation": "batch", "history": "none", "free_bits": 1.0},
        {"normalisation": "batch_recalibrated"},
        {**STARTED, "ema_decay": 0.9},
        {**STARTED, "output": "ordinal"},
    ],
    ids=["plateau", "ema", "swa", "recalibrated", "factorisation", "factorisation, ordinal"],
)
def test_continues_exactly(fields: dict[str, Any], tmp_path: Path) -> None:
    straight = run(Trial(spec(fields), DATA, folder=tmp_path / "straight", device="cpu"))
    first = Trial(spec(fields), DATA, folder=tmp_path / "broken", device="cpu")
    for _ in range(3):
        first.step()
    first.save(tmp_path / "checkpoint")
    second = Trial(spec(fields), DATA, folder=tmp_path / "broken", device="cpu")
    second.load(tmp_path / "checkpoint")
    run(second)

    def figures(trial: Trial) -> list[Any]:
        same = {"seconds": 0.0, "ratings_per_second": 0.0}
        return [replace(report, **same) for report in trial.reports]

    assert figures(second) == figures(straight)
    assert kinds(second) == kinds(straight)
    results = [trial.finish(TrialStatus.FINISHED) for trial in (straight, second)]
    assert results[0].rmse == results[1].rmse
    valid = [np.load(tmp_path / name / "valid.npy") for name in ("straight", "broken")]
    np.testing.assert_array_equal(valid[0], valid[1])
    members = [load_artifact(tmp_path / name / "member") for name in ("straight", "broken")]
    for name, array in members[0].arrays.items():
        np.testing.assert_array_equal(array, members[1].arrays[name])


def test_what_a_start_has_found_is_not_found_again(tmp_path: Path) -> None:
    """A sampler of so many sweeps takes minutes: a checkpoint spares it all of them."""
    first = Trial(spec(STARTED), DATA, folder=tmp_path, device="cpu")
    first.step()
    first.save(tmp_path)
    arrays, facts = read_checkpoint(tmp_path)
    facts["spec"]["config"]["start_sweeps"] = facts["config"]["start_sweeps"] = 10_000_000
    write_checkpoint(tmp_path / "endless", {name: array.copy() for name, array in arrays.items()}, facts)
    second = Trial(spec({**STARTED, "start_sweeps": 10_000_000}), DATA, folder=tmp_path, device="cpu")
    second.load(tmp_path / "endless")
    assert second.step().rmse == first.step().rmse


def test_leaves_the_best_epoch(tmp_path: Path) -> None:
    trial = run(Trial(spec({}), DATA, folder=tmp_path / "trials" / "0004", device="cpu"))
    result = trial.finish(TrialStatus.FINISHED)
    best = min(trial.reports, key=lambda report: report.rmse)
    assert (result.best_epoch, result.rmse, result.loss) == (best.epoch, best.rmse, best.loss)
    assert result.folder == "trials/0004"
    predictions = np.load(trial.folder / "valid.npy")
    assert np.sqrt(np.mean((predictions - DATA.valid.values) ** 2)) == pytest.approx(best.rmse, abs=1e-6)
    member = load_artifact(trial.folder / "member")
    scorer = FAMILIES["hybrid_vae"].scorer(member, lambda user: history_of(DATA.train, user))
    rows = np.flatnonzero(DATA.valid.users == 3)
    stars = scorer.score(scorer.known_user(3), DATA.valid.items[rows])
    np.testing.assert_allclose(stars, predictions[rows], atol=1e-4)
    stored = trial_from_json(json.loads((trial.folder / "result.json").read_text()))
    assert stored == replace(result, spec=stored.spec)
    assert stored.spec.config == result.spec.config


def test_stops_early_and_not_in_a_refit(tmp_path: Path) -> None:
    fields = {"learning_rate": 0.0, "patience": 2}
    assert len(run(Trial(spec(fields, epochs=9), DATA, folder=tmp_path, device="cpu")).reports) == 3
    refit = Trial(spec(fields, epochs=4, early_stop=False), DATA, folder=tmp_path, device="cpu")
    assert len(run(refit).reports) == 4
    assert refit.best_epoch == 4


def test_a_refit_needs_no_valid_slice(tmp_path: Path) -> None:
    everything = replace(DATA, valid=DATA.valid.take(np.zeros(0, dtype=np.int64)))
    trial = run(Trial(spec({}, epochs=2, early_stop=False), everything, folder=tmp_path, device="cpu"))
    result = trial.finish(TrialStatus.FINISHED)
    assert (result.rmse, result.loss, result.best_epoch) == (None, None, 2)
    assert load_artifact(tmp_path / "member").family == "hybrid_vae"
    with pytest.raises(InputError, match="valid slice is empty"):
        Trial(spec({}), everything, folder=tmp_path)


def test_the_second_door_refuses_what_is_outside_the_bounds(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        Trial(spec({"kl_weight": 0.02, "latent": 97, "batch_size": 512}), DATA, folder=tmp_path)
    for words in ("kl_weight 0.02 is above 0.015", "latent 97 is above 96 (the formula has 64)", "512"):
        assert words in str(refusal.value)


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


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    trial = Trial(spec({}), DATA, folder=tmp_path, device="cpu")
    trial.step()
    trial.save(tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    trial.step()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            trial.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    again = Trial(spec({}), DATA, folder=tmp_path, device="cpu")
    again.load(tmp_path)
    assert len(again.reports) == 1


def test_a_checkpoint_of_another_trial_is_refused(tmp_path: Path) -> None:
    trial = Trial(spec({}), DATA, folder=tmp_path, device="cpu")
    trial.step()
    trial.save(tmp_path)
    other = Trial(spec({"dropout": 0.3}), DATA, folder=tmp_path, device="cpu")
    with pytest.raises(InputError, match=r"of another trial: it differs in \['config'\]"):
        other.load(tmp_path)
    with pytest.raises(InputError, match=r"holds no checkpoint\.safetensors"):
        other.load(tmp_path / "nowhere")
    whole = (tmp_path / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        trial.load(tmp_path)


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
