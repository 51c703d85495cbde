"""Clicks and the like are learned from by the lists of a run, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.splits import make_split
from recsys.ranking.list_selection import fixed_lists
from search.config.plan import make_plan
from search.run.setup import _known_positives, list_validation
from tests.releases import make_dataset


def with_clicks(dataset: Dataset, times: list[int]) -> Dataset:
    """The last user, who rated nothing, clicked on the first items."""
    user = dataset.ratings.user_count - 1
    count = len(times)
    clicks = replace(
        dataset.ratings,
        users=np.full(count, user, dtype=np.int32),
        items=np.arange(count, dtype=np.int32),
        values=np.full(count, 5, dtype=np.float32),
        times=np.array(times),
    )
    return replace(dataset, positives=clicks)


def test_lists_learn_from_clicks() -> None:
    dataset = with_clicks(make_dataset(), [1_600_000_000] * 8)
    split = make_split(dataset, "random", seed=0)
    user = dataset.ratings.user_count - 1
    lists = list_validation(make_plan({"objective": "lists"}, {}), dataset, split)
    assert lists.data.rated[user].nnz == 6  # a quarter of eight is held out
    assert user in lists.holdout.users
    known: Ratings = dataset.ratings.take(split.train)
    plain = fixed_lists().fit(known, seed=0)
    clicked = replace(fixed_lists(), positives=dataset.positives).fit(known, seed=0)
    assert not plain.arrays["users"][user].any()
    assert clicked.arrays["users"][user].any()
    assert not np.array_equal(clicked.arrays["prior"], plain.arrays["prior"])


def test_where_test_is_the_newest_part_clicks_of_its_time_are_left_out() -> None:
    dataset = with_clicks(make_dataset(), [1_400_000_000, 1_700_000_000])
    for protocol, kept in (("temporal", 1), ("random", 2)):
        split = make_split(dataset, protocol, seed=0)
        positives = _known_positives(dataset, split)
        assert positives is not None
        assert len(positives) == kept
