"""Options that the ratings cannot feed are not drawn, and are refused where the plan fixes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.data_spec import DataSpec
from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.errors import InputError
from recsys.models.registry import family_named, make_config
from search.config.plan import make_plan
from search.sampling.search_space import shape_of
from search.sampling.trial_factory import TrialFactory
from search.sampling.trial_slots import trial_sequence
from tests.search.sampling.test_space import Drawn

DATASET = DataSpec("synthetic:users=60,items=40,ratings=1000").load()
STARS = training_data(DATASET, make_split(DATASET, "random", seed=0))
COUNT = len(STARS.train)
CONTINUOUS = replace(STARS, train=replace(STARS.train, values=np.linspace(0.5, 5, COUNT, dtype=np.float32)))
FIRST_OF_EACH = np.unique(STARS.train.users, return_index=True)[1]
ONE_EACH = replace(STARS, train=STARS.train.take(FIRST_OF_EACH))
UNTIMED = replace(STARS, train=replace(STARS.train, times=None))


def composer(data: TrainingData, **changes: object) -> TrialFactory:
    plan = make_plan({"baselines": ["bias"], **changes}, {})
    return TrialFactory(plan, data, shape_of(DATASET), trial_sequence(plan), [])


@pytest.mark.parametrize(
    ("data", "field"), [(CONTINUOUS, "output"), (ONE_EACH, "history"), (UNTIMED, "time")]
)
def test_what_cannot_be_fed_is_not_drawn(data: TrainingData, field: str) -> None:
    space = composer(data).spaces["hybrid_vae"]
    check = family_named("hybrid_vae").check
    assert check is not None
    assert field not in space.ranges
    assert field in composer(STARS).spaces["hybrid_vae"].ranges

    @settings(max_examples=50, deadline=None)
    @given(draws=st.data())
    def fits(draws: st.DataObject) -> None:
        check(make_config("hybrid_vae", space.draw(Drawn(draws))), data)

    fits()


@pytest.mark.parametrize(
    ("data", "fixed", "message"),
    [
        (CONTINUOUS, {"output": "ordinal"}, "set output to gaussian"),
        (ONE_EACH, {"history": "ratings", "dot_product": 8}, "set history to none"),
        (UNTIMED, {"time": "levels"}, "no timestamps; set time to none"),
    ],
)
def test_a_plan_that_fixes_it_is_refused(data: TrainingData, fixed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        composer(data, fixed={"hybrid_vae": fixed})
