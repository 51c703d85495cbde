"""What a dataset is, as a sha256: the same whatever file its ratings came from."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from recsys.data.ratings import Ratings


def columns_sha256(ratings: Ratings, user_ids: NDArray[np.str_], item_ids: NDArray[np.str_]) -> str:
    """Of the rating columns, in order, and the ids."""
    digest = hashlib.sha256()
    for column in (ratings.users, ratings.items, ratings.values, ratings.times):
        if column is not None:
            digest.update(np.ascontiguousarray(column).data)
    for ids in (user_ids, item_ids):
        digest.update("\n".join(ids.tolist()).encode())
    return digest.hexdigest()
