"""What test judges, trained again on train and valid: by the trial's own epochs, and nothing else changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.data.data_spec import DataSpec
from recsys.data.dataset import Dataset
from recsys.data.split import Split
from recsys.data.splits import make_split, training_data
from recsys.metrics.rating import rmse
from recsys.models.artifact import load_artifact
from recsys.models.registry import family_named, make_config
from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from recsys.training.trial_types import TrialSpec
from search.config.plan import make_plan
from search.finalize.finalizer import Finalizer
from tests.search.finalize.runs import finish, finished, results, train

pytestmark = pytest.mark.slow

SMALL = {"factors": 8, "hidden": [16], "latent": 4, "normalisation": "layer", "learning_rate": 3e-3}
SPECS = (
    TrialSpec(0, "formula", "hybrid_vae", SMALL, epochs=4, seed=1, origin="formula"),
    TrialSpec(1, "mf-1", "mf", {"factors": 4}, epochs=6, seed=2, origin="search"),
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return DataSpec("synthetic:users=150,items=90,ratings=5000").load()


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return make_split(dataset, "random,gate=off", seed=0)


@pytest.fixture(scope="module")
def run(dataset: Dataset, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with two finished trials."""
    return train(tmp_path_factory.mktemp("run"), SPECS, dataset, split)


def test_test_judges_models_that_saw_valid(run: Path, dataset: Dataset, split: Split) -> None:
    plain, _ = finished(run, {}, dataset, split)
    again, said = finished(run, {"retrain_on_valid": True}, dataset, split)
    assert plain.results.best is not None
    assert again.results.best is not None
    assert again.results.best.valid == plain.results.best.valid
    assert again.results.best.test != plain.results.best.test
    assert "trained again on train and valid" in again.results.best.note
    assert not plain.results.best.note
    assert len([line for line in said if line.startswith("retrained: trial")]) == len(SPECS)

    # The same model, trained by hand.
    result = next(entry for entry in results(run) if entry.spec.number == again.results.best.trial)
    rows = np.sort(np.concatenate([split.train, split.valid]))
    family, known = family_named(result.spec.family), training_data(dataset, split)
    trainer = family.build(
        make_config(result.spec.family, result.spec.config),
        replace(known, train=dataset.ratings.take(rows)),
        epochs=result.spec.epochs,
        seed=result.spec.seed,
        device=torch.device("cpu"),
    )
    assert result.best_epoch is not None
    for _ in range(result.best_epoch):
        trainer.train_epoch()
    test = dataset.ratings.take(split.test)
    assert again.results.best.test is not None
    assert again.results.best.test.rmse == pytest.approx(rmse(trainer.predict(test), test.values), abs=2e-4)


def test_the_release_holds_what_was_judged(run: Path, dataset: Dataset, split: Split) -> None:
    ended, said = finished(run, {"retrain_on_valid": True}, dataset, split)
    assert not any(line.startswith("retrained: trial") for line in said), "done once, it is not done again"
    assert ended.release is not None
    kept = {member.name: member for member in load_release(ended.release).manifest.members}
    assert ended.results.ensemble is not None
    for member in ended.results.ensemble.members:
        number = member.trial
        packed = load_artifact(run / "retrained" / f"{number:04d}" / "member")
        name = next(name for name in kept if name.startswith(f"{number:04d}-"))
        released = load_artifact(ended.release / "members" / name)
        assert set(released.arrays) == set(packed.arrays)
        for key, array in packed.arrays.items():
            np.testing.assert_array_equal(released.arrays[key], array)


def test_a_refit_is_for_the_release_alone(run: Path, dataset: Dataset, split: Split) -> None:
    plain, _ = finished(run, {}, dataset, split)
    refit, said = finished(run, {"refit": True}, dataset, split)
    assert plain.results.ensemble is not None
    assert refit.results.ensemble is not None
    assert refit.results.ensemble.test == plain.results.ensemble.test
    assert refit.results.refit is not None
    assert refit.results.refit["trained_on"] == ["train", "valid", "test"]
    assert any(line.startswith("refit: trial") for line in said)


def test_what_does_not_fit_the_budget_is_left_out_and_the_release_stays(
    run: Path, dataset: Dataset, split: Split, tmp_path: Path
) -> None:
    skipped = shutil.ignore_patterns("retrained", "release", "refit")
    again = Path(shutil.copytree(run, tmp_path / "run", ignore=skipped))
    said: list[str] = []
    plan = make_plan({"retrain_on_valid": True, "refit": True}, {})
    end = Finalizer(again, plan, dataset, split, log=said.append, seconds_left=lambda: 0.0)
    ended = finish(end, again, dataset, split)
    assert ended.release is not None
    assert ended.results.refit is None
    assert [line.split(" (")[0] for line in said if line.startswith("left out")] == [
        "left out: retraining on train and valid",
        "left out: the refit on every slice",
    ]
    assert not (again / "retrained").exists()
    assert not (again / "refit").exists()


def test_a_release_is_made_first_where_little_of_the_budget_is_left(
    run: Path, dataset: Dataset, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("release")))

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Finalizer, "_evaluate_on_test", cut_off)
    for left, kept in ((60.0, False), (40.0, True)):
        end = Finalizer(
            again,
            make_plan({}, {}),
            dataset,
            split,
            log=print,
            seconds_left=partial(float, left),
            reserve=100.0,
        )
        with pytest.raises(KeyboardInterrupt):
            finish(end, again, dataset, split)
        assert (again / "release" / "manifest.json").exists() == kept
    release = load_release(again / "release")
    assert release.manifest.rating_blend.intervals is None  # they want a look at test
    assert len(Recommender(release).recommend([Query(user=0)])[0].recommendations) == 10
