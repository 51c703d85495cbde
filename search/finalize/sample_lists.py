"""Sample lists for the report, with titles: a few people's highest ratings and recommendations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.data.dataset import Dataset
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from search.results.run_info import SampleItem, SampleList

LIKED = 5


def sample_lists(recommender: Recommender, dataset: Dataset, *, count: int = 6) -> list[SampleList]:
    """Lists of users spread evenly from the least to the most active."""
    histories = recommender.release.histories
    activity = np.diff(histories.ends)
    active = np.flatnonzero(activity)
    if len(active) == 0:
        return []
    ranked = active[np.argsort(activity[active], kind="stable")]
    ranks = np.linspace(0.1, 0.95, min(count, len(ranked))) * (len(ranked) - 1)
    users = [int(ranked[int(rank)]) for rank in ranks]
    answers = recommender.recommend([Query(user=user) for user in users])
    samples = []
    for user, answer in zip(users, answers, strict=True):
        history = histories(user)
        best = np.argsort(-history.values, kind="stable")[:LIKED]
        samples.append(
            SampleList(
                user=str(dataset.user_ids[user]),
                rated=[SampleItem(title=_name(dataset, int(item))) for item in history.items[best]],
                recommended=[
                    SampleItem(title=_name(dataset, entry.item), stars=float(entry.predicted_rating))
                    for entry in answer.recommendations
                ],
            )
        )
    return samples


def _name(dataset: Dataset, item: int) -> str:
    titles: Sequence[str] = dataset.catalogue.titles
    return titles[item] or str(dataset.catalogue.ids[item])
