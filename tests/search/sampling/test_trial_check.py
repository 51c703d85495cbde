"""The first door refuses, before anything starts, every trial that could not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.data.data_spec import DataSpec
from recsys.data.dataset import Dataset
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from recsys.training.trial_types import TrialSpec
from search.config.plan import make_plan
from search.run.search_request import SearchRequest
from search.run.setup import prepare
from search.sampling.search_space import shape_of
from search.sampling.trial_check import check_trial
from search.sampling.trial_factory import Point, TrialFactory
from search.sampling.trial_slots import trial_sequence

SYNTHETIC = "synthetic:users=60,items=40,ratings=1000"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return DataSpec(SYNTHETIC).load()


def factory(dataset: Dataset, points: list[Point], **plan: Any) -> TrialFactory:
    made = make_plan({"baselines": ["bias"], **plan}, {})
    data = training_data(dataset, make_split(dataset, "random", seed=0))
    sequence = trial_sequence(made, start_families=[family for family, _ in points])
    return TrialFactory(made, data, shape_of(dataset), sequence, points)


@pytest.mark.parametrize("fields", [{"kl_weight": 0.5}, {"batch_size": 256}, {"latent": 500}])
def test_a_template_outside_a_bound_is_refused_first(
    fields: dict[str, Any], dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"family": "hybrid_vae", "training": {}, "model": fields}))
    with pytest.raises(InputError, match=f"outside the safe bounds.*{next(iter(fields))}"):
        factory(dataset, [], template=str(path))


def test_a_point_to_start_at_outside_a_bound_is_refused_first(dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"outside the safe bounds.*kl_weight 0\.5"):
        factory(dataset, [("hybrid_vae", {"kl_weight": 0.5})])


def test_the_plan_as_it_comes_passes(dataset: Dataset) -> None:
    factory(dataset, [], families={"hybrid_vae": 1, "mf": 1, "bayes_mf": 1})


def test_a_trial_of_an_experiment_is_checked_too(dataset: Dataset) -> None:
    spec = TrialSpec(0, "mine", "hybrid_vae", {"kl_weight": 0.5}, epochs=1, seed=0)
    data = training_data(dataset, make_split(dataset, "random", seed=0))
    with pytest.raises(InputError, match=r"trial 0 .mine. is outside the safe bounds"):
        check_trial(spec, data, shape_of(dataset), small_batch=False)


def test_a_small_batch_is_only_for_the_gpu_that_asks_for_it(tmp_path: Path) -> None:
    plan = make_plan({"small_batch": True}, {})
    request = SearchRequest(out=tmp_path / "run", plan=plan, source=DataSpec(SYNTHETIC))
    with pytest.raises(InputError, match=r"small_batch is true.*leave small_batch out"):
        prepare(request)
    assert not (tmp_path / "run").exists()
