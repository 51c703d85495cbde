"""Both tests of two releases, on behaviour where one lists what people rate and the other does not."""

from __future__ import annotations

import numpy as np

from recsys.data.ratings import Ratings, RatingScale
from serving.experiments.verdict import ExperimentDecision
from tests.benchmarks.release_ab import Behaviour, interleaved_test, split_test

PEOPLE = 200


def test_both_tests_name_the_release_whose_items_people_rate() -> None:
    users = np.arange(PEOPLE, dtype=np.int32)
    test = Ratings(
        users=users,
        items=np.full(PEOPLE, 3, dtype=np.int32),
        values=np.full(PEOPLE, 4, dtype=np.float32),
        times=np.arange(PEOPLE)[::-1].copy(),
        scale=RatingScale(1, 5),
        user_count=PEOPLE,
        item_count=6,
    )
    behaviour = Behaviour.of(test)
    assert behaviour.users == list(range(PEOPLE))[::-1]
    good, bad = (dict.fromkeys(range(PEOPLE), items) for items in (["3", "1"], ["2", "4"]))
    for lists, sign, decision in (
        ({"control": bad, "treatment": good}, 1, ExperimentDecision.SHIP),
        ({"control": good, "treatment": bad}, -1, ExperimentDecision.STOP),
    ):
        for judge in (split_test, interleaved_test):
            result = judge(lists, behaviour, seed=0)
            assert result.verdict.decision is decision
            assert result.interval is not None
            assert sign * result.interval.estimate > 0.9
    equal = interleaved_test({"control": good, "treatment": good}, behaviour, seed=0)
    assert equal.verdict.decision not in (ExperimentDecision.SHIP, ExperimentDecision.STOP)
