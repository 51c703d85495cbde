"""``strong:USERS``: people whom nothing was fitted on are folded in from ``fold_in``, never from test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.data.splits import make_split, training_data
from recsys.data.synthetic import generate
from recsys.models.base import History
from recsys.models.registry import family_named
from search.finalize.evaluator import Evaluator

DATASET = generate(users=60, items=40, ratings=1000, seed=0).dataset


def test_held_out_people_are_strangers_with_a_history_to_every_member() -> None:
    split = make_split(DATASET, "strong:10", seed=0)
    family = family_named("bias")
    data = training_data(DATASET, split)
    trainer = family.build(family.config_type(), data, epochs=1, seed=0, device="cpu")
    trainer.train_epoch()
    member, judge = trainer.export(), Evaluator.of(DATASET, split)
    test, known = judge.slice("test"), judge.slice("fold_in")
    assert not np.isin(data.train.users, test.users).any()
    assert sorted(judge.folded_in) == np.unique(test.users).tolist()
    assert len(judge.known_ratings) == len(split.train) + len(split.valid) + len(split.fold_in)
    stars, scorer = judge.predict(member, test), family.scorer(member, judge.histories)
    for row in range(len(test)):
        own = known.users == test.users[row]
        state = scorer.fold_in(History(known.items[own], known.values[own]))
        assert abs(stars[row] - scorer.score(state, test.items[row : row + 1])[0]) < 1e-5
    by_row = [
        scorer.score(scorer.known_user(int(user)), test.items[row : row + 1])[0]
        for row, user in enumerate(test.users)
    ]
    assert np.abs(stars - by_row).max() > 0.05  # the histories are used
    values = DATASET.ratings.values.copy()
    values[split.test] = DATASET.ratings.scale.high
    other = replace(DATASET, ratings=replace(DATASET.ratings, values=values))
    assert np.array_equal(Evaluator.of(other, split).predict(member, test), stars)
