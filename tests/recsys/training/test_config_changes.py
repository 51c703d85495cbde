"""What a trial was really trained with: on its result, in its checkpoint, and repeated by a refit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys.data.data_spec import DataSpec
from recsys.data.dataset import Dataset
from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from recsys.training import checkpoint
from recsys.training.serialization import trial_from_json, trial_to_json
from recsys.training.trial import Trial
from recsys.training.trial_types import TrialSpec, TrialStatus
from search.finalize.retrain import retrain
from search.storage.trial_dir import read_result

SMALL = {"factors": 8, "hidden": [16], "latent": 4, "normalisation": "layer", "kl_weight": 0.01}
SPEC = TrialSpec(3, "mine", "hybrid_vae", SMALL, epochs=4, seed=1)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return DataSpec("synthetic:users=60,items=40,ratings=1000").load()


@pytest.fixture(scope="module")
def data(dataset: Dataset) -> TrainingData:
    return training_data(dataset, make_split(dataset, "random", seed=0))


def trained(folder: Path, data: TrainingData) -> Trial:
    trial = Trial(SPEC, data, folder=folder)
    trial.step()
    trial.change_config({"kl_weight": 0.005, "kl_schedule": "constant"})
    trial.step()
    return trial


def edit(folder: Path, change: dict[str, Any]) -> None:
    arrays, facts = checkpoint.read_checkpoint(folder)
    kept = {name: array.copy() for name, array in arrays.items()}
    checkpoint.write_checkpoint(folder, kept, {**facts, "config": {**facts["config"], **change}})


def test_the_result_shows_the_config_trained_with(tmp_path: Path, data: TrainingData) -> None:
    result = trained(tmp_path / "0003", data).finish(TrialStatus.FINISHED)
    assert result.best_epoch == 2
    assert result.trained_config["kl_weight"] == 0.005
    assert result.spec.config["kl_weight"] == 0.01
    assert trial_from_json(json.loads(json.dumps(trial_to_json(result)))) == result
    assert read_result(tmp_path / "0003").trained_config == result.trained_config


def test_a_change_after_the_best_epoch_is_not_what_it_was_trained_with(
    tmp_path: Path, data: TrainingData
) -> None:
    trial = Trial(SPEC, data, folder=tmp_path / "0003")
    trial.step()
    trial.change_config({"kl_weight": 0.005})
    assert trial.finish(TrialStatus.FINISHED).trained_config["kl_weight"] == 0.01


def test_a_refit_repeats_the_changes(tmp_path: Path, dataset: Dataset, data: TrainingData) -> None:
    result = trained(tmp_path / "0003", data).finish(TrialStatus.FINISHED)
    split = make_split(dataset, "random", seed=0)
    retrain(tmp_path / "refit", result, dataset, split, ("train", "valid"), log=lambda line: None)
    again = read_result(tmp_path / "refit" / "0003")
    assert again.config_changes == result.config_changes
    assert [report.kl_weight for report in again.reports][-1] == 0.005


def test_a_checkpoint_goes_on_with_its_recorded_changes(tmp_path: Path, data: TrainingData) -> None:
    trial = trained(tmp_path / "0003", data)
    trial.recoveries["diverged"] = 1
    trial.save(tmp_path / "checkpoint")
    again = Trial(SPEC, data, folder=tmp_path / "0003")
    again.load(tmp_path / "checkpoint")
    assert again.config == trial.config
    assert again.config_changes == trial.config_changes


@pytest.mark.parametrize("change", [{"kl_weight": 0.5}, {"kl_weight": 0.002}, {"dropout": 0.0}])
def test_an_edited_checkpoint_is_refused(tmp_path: Path, data: TrainingData, change: dict[str, Any]) -> None:
    trained(tmp_path / "0003", data).save(tmp_path / "checkpoint")
    edit(tmp_path / "checkpoint", change)
    with pytest.raises(InputError, match=f"another config.*{next(iter(change))}"):
        Trial(SPEC, data, folder=tmp_path / "0003").load(tmp_path / "checkpoint")
