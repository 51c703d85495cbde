"""The three doors of the safe bounds refuse the same config: a plan read, a trial begun, a release packed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsys.data.data_spec import DataSpec
from recsys.data.dataset import Dataset
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from recsys.models.base import ModelArtifact
from recsys.release.pack import require_safe_members
from recsys.release.release_writer import ReleaseMember
from recsys.training.trial import Trial
from recsys.training.trial_types import TrialSpec
from search.config.plan import make_plan
from search.sampling.search_space import shape_of
from search.sampling.trial_factory import TrialFactory
from search.sampling.trial_slots import trial_sequence

BAD = {"kl_weight": 0.02, "latent": 128, "hidden": [900, 256, 128], "factors": 400}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return DataSpec("synthetic:users=60,items=40,ratings=1000").load()


def at_the_plan(dataset: Dataset, folder: Path) -> None:
    plan = make_plan({"fixed": {"hybrid_vae": BAD}, "baselines": ["bias"]}, {})
    data = training_data(dataset, make_split(dataset, "random", seed=0))
    TrialFactory(plan, data, shape_of(dataset), trial_sequence(plan), [])


def at_the_trial(dataset: Dataset, folder: Path) -> None:
    data = training_data(dataset, make_split(dataset, "random", seed=0))
    Trial(TrialSpec(0, "bad", "hybrid_vae", BAD, epochs=1, seed=0), data, folder=folder)


def at_the_release(dataset: Dataset, folder: Path) -> None:
    packed = ModelArtifact("hybrid_vae", {}, {"x": np.zeros(1)}, dataset.ratings.scale)
    require_safe_members(dataset, [ReleaseMember("bad", packed, BAD, 1, 1.0)])


@pytest.mark.parametrize("door", [at_the_plan, at_the_trial, at_the_release])
def test_every_door_names_every_broken_bound(
    door: Callable[[Dataset, Path], None], dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refusal:
        door(dataset, tmp_path)
    message = str(refusal.value)
    # Value, limit, and what the formula has.
    for part in (
        "kl_weight 0.02",
        "0.015",
        "0.01",
        "latent 128",
        "96",
        "64",
        "900",
        "768",
        "factors 400",
        "225",
    ):
        assert part in message
    assert "parameters" in message
