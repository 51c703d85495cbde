"""How lists are cut for a judgement: what is fitted on, whose histories are known, what they should find.

``newest`` is each person's newest quarter; every other protocol is the split of that name
(``recsys.data.splits``), train and valid known, and with ``strong:USERS`` people folded in from
``fold_in``. People without a known rating are not judged: their list is popularity, whatever the ranker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.ratings import Ratings
from recsys.data.splits import make_split
from recsys.errors import InputError
from recsys.ranking.list_holdout import HoldoutShape, holdout_shape, split_off


@dataclass(frozen=True, eq=False)
class ListCut:
    """One judgement of lists.

    Attributes:
        train: What a ranker is fitted on.
        histories: What is known of the judged people: train's rows where they are part of it.
        test: What their lists should hold.
        users: (n,) rows of the judged people, ascending.
        shape: Of the holdout that a ranker should be chosen by.
        fold_in: Whether the judged people are no part of train.
        fingerprint: Of the split; "" for ``newest``.
    """

    train: Ratings
    histories: Ratings
    test: Ratings
    users: NDArray[np.int64]
    shape: HoldoutShape
    fold_in: bool
    fingerprint: str = ""


def cut_lists(dataset: Dataset, protocol: str, *, seed: int) -> ListCut:
    """Cuts ``dataset`` by ``protocol``.

    Raises:
        InputError: For a protocol of no such name, or one that leaves nobody to judge.
    """
    ratings = dataset.ratings
    if protocol == "newest":
        if ratings.times is None:
            raise InputError("newest: the ratings have no times, so nobody's newest are known")
        known, test = split_off(ratings, shape="newest", seed=seed)
        return _of_known(known, test, "newest", protocol)
    split = make_split(dataset, protocol, seed=seed)
    known = ratings.take(np.sort(np.concatenate([split.train, split.valid])))
    test, shape = ratings.take(split.test), holdout_shape(protocol, known)
    if len(split.fold_in):
        users = np.unique(test.users).astype(np.int64)
        return ListCut(known, ratings.take(split.fold_in), test, users, shape, True, split.fingerprint)
    return replace(_of_known(known, test, shape, protocol), fingerprint=split.fingerprint)


def _of_known(known: Ratings, test: Ratings, shape: HoldoutShape, protocol: str) -> ListCut:
    users = np.intersect1d(test.users, known.users).astype(np.int64)
    if not len(users):
        raise InputError(f"{protocol}: nobody has both a known rating and one to find; use another protocol")
    return ListCut(known, known, test, users, shape, fold_in=False)
