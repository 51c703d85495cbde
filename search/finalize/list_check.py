"""Lists under the plan's own protocol, for a run that is split otherwise: its targets are judged on it.

The targets for P@10 and NDCG@10 are those of a 75/25 split of each user. So the list families' own
starting points are blended on that split of the same ratings, by its train and valid alone, and its test is
looked at once. Large data is checked on a sample of people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from recsys.data.dataset import Dataset
from recsys.data.splits import make_split
from recsys.errors import InputError
from recsys.evaluation import list_intervals
from recsys.metrics.ranking import best_of
from recsys.ranking.item_regression import DENSE_ITEMS
from recsys.ranking.list_data import ListData
from recsys.ranking.list_ensemble import blend_lists, evaluate_starts
from recsys.ranking.list_validation import ListValidation, unseen_scores
from recsys.seeds import derive_seed
from search.results.metrics import JudgedListsResult
from search.results.targets import LISTS_PROTOCOL

MAX_USERS = 1_000


def check_lists(
    dataset: Dataset, *, seed: int, log: Callable[[str], None], at: Sequence[int] = (10,)
) -> JudgedListsResult | None:
    """Test figures of blended lists on a per-user split of ``dataset``.

    Args:
        dataset: The run's.
        seed: Of the sample, the split and the fits.
        log: Prints a line.
        at: Lengths of a list.

    Returns:
        Every list metric with its interval; None where no such split can be made.
    """
    users = np.unique(dataset.ratings.users)
    random = np.random.default_rng(derive_seed(seed, "list-check"))
    chosen = random.permutation(users)[:MAX_USERS]
    rows = np.flatnonzero(np.isin(dataset.ratings.users, chosen))
    try:
        part = dataset if len(chosen) == len(users) else replace(dataset, ratings=dataset.ratings.take(rows))
        split = make_split(part, LISTS_PROTOCOL, seed=seed)
    except InputError as error:
        log(f"lists were not checked on a {LISTS_PROTOCOL} split: {error}")
        return None
    train_ratings = part.ratings.take(split.joined("train", "valid"))
    test = part.ratings.take(split.test)
    features = dataset.item_features
    draws = 2 if part.ratings.item_count <= DENSE_ITEMS else 1  # where a fit takes minutes, every family once
    validation = ListValidation.of(
        train_ratings, shape="random", seed=seed, item_features=features, draws=draws
    )
    selection = blend_lists(evaluate_starts(validation), validation)
    ranker = selection.fit(train_ratings, seed=seed)
    judged = np.unique(test.users).astype(np.int64)
    lists = best_of(unseen_scores(ranker, ListData(train_ratings), judged, users_fitted=True), max(at))
    counts = np.bincount(train_ratings.items, minlength=train_ratings.item_count)
    figures = list_intervals(lists, judged, test, counts=counts, at=at)
    log(
        f"lists on a {LISTS_PROTOCOL} split of {len(judged)} people: "
        f"P@10 {figures['precision_at_10'].value:.4f}, NDCG@10 {figures['ndcg_at_10'].value:.4f}"
    )
    return JudgedListsResult.of("list_check", LISTS_PROTOCOL, figures, people=len(judged), folded_in=0)
