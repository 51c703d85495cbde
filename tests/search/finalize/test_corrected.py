"""A blend that is corrected: where valid says so, as told, as released and as kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.data.dataset import Dataset
from recsys.data.split import Split
from recsys.data.splits import make_split
from recsys.metrics.rating import rmse
from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from recsys.training.trial_types import TrialSpec
from search.finalize.selection import ENSEMBLE_VALID
from tests.releases import make_dataset
from tests.search.finalize.runs import finished, train

pytestmark = pytest.mark.slow

SPECS = (
    TrialSpec(0, "bias-0", "bias", {}, epochs=3, seed=1, origin="search"),
    TrialSpec(1, "knn-1", "item_knn", {}, epochs=1, seed=2, origin="search"),
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Every second user finds everything worse or better by more than the others do: no bias says that."""
    made = make_dataset(users=400, items=60, density=0.5)
    random, ratings = np.random.default_rng(1), made.ratings
    quality = random.normal(0, 0.8, ratings.item_count)[ratings.items]
    keenness = np.where(ratings.users % 2, 1.8, 0.2)
    stars = 3 + keenness * quality + 0.3 * random.standard_normal(len(ratings))
    values = np.clip(np.round(2 * stars) / 2, 0.5, 5).astype(np.float32)
    return replace(made, ratings=replace(ratings, values=values))


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return make_split(dataset, "random", seed=0)


@pytest.fixture(scope="module")
def run(dataset: Dataset, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), SPECS, dataset, split)


def test_what_is_told_is_what_the_release_answers(run: Path, dataset: Dataset, split: Split) -> None:
    ended, said = finished(run, {}, dataset, split)
    assert any(line.endswith(", corrected") for line in said)
    assert ended.results.ensemble.method.endswith(", corrected")
    assert ended.results.ensemble is not None
    assert ended.results.ensemble.valid is not None
    assert ended.release is not None
    recommender = Recommender(load_release(ended.release))
    assert recommender.release.correction is not None
    test = dataset.ratings.take(split.test)
    for user in np.unique(test.users)[:40]:
        rows = np.flatnonzero(test.users == user)
        answered = recommender.predict(Query(user=int(user)), test.items[rows])
        np.testing.assert_allclose(answered, ended.test_stars["ensemble"][rows], atol=1e-5)
    valid = dataset.ratings.take(split.valid)
    kept = np.load(run / ENSEMBLE_VALID, allow_pickle=False)
    assert rmse(kept, valid.values) == pytest.approx(ended.results.ensemble.valid.rmse)


def test_it_may_be_left_out_and_costs_what_it_was_worth(run: Path, dataset: Dataset, split: Split) -> None:
    with_it, _ = finished(run, {}, dataset, split)
    without, said = finished(run, {"ensemble": {"corrected": False}}, dataset, split)
    assert not any("corrected" in line for line in said)
    assert without.release is not None
    assert load_release(without.release).correction is None
    assert with_it.results.ensemble is not None
    assert without.results.ensemble is not None
    assert with_it.results.ensemble.test is not None
    assert without.results.ensemble.test is not None
    assert with_it.results.ensemble.test.rmse < without.results.ensemble.test.rmse - 0.01
    assert [(m.trial, m.weight) for m in with_it.results.ensemble.members] == [
        (m.trial, m.weight) for m in without.results.ensemble.members
    ]
