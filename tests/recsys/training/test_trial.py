"""Trials: exact continuation, real faults and what was done about them, what is left on disk."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import InputError
from recsys.models.artifact import load_artifact
from recsys.models.registry import FAMILIES
from recsys.training.checkpoint import read_checkpoint, write_checkpoint
from recsys.training.serialization import trial_from_json
from recsys.training.trial import Trial
from recsys.training.trial_types import TrialStatus
from tests.recsys.training.small_trials import DATA, kinds, run, spec
from tests.small_ratings import history_of

STARTED: dict[str, Any] = {
    "start": "factorisation",
    "start_factors": 3,
    "start_rank": 6,
    "start_sweeps": 20,
}


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
        return [replace(report, seconds=0.0, ratings_per_second=0.0) for report in trial.reports]

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
