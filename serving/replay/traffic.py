"""The ``future`` slice of the split that a release was made with, in time order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.loading import load_dataset
from recsys.data.splits import make_split
from recsys.errors import InputError
from recsys.release.load import read_manifest


@dataclass(frozen=True)
class Traffic:
    """Ratings by external ids, oldest first: ``users``, ``items`` (n,) ids, ``values`` (n,) stars, ``times``
    (n,) Unix seconds."""

    users: NDArray[np.str_]
    items: NDArray[np.str_]
    values: NDArray[np.float32]
    times: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    def first(self, count: int | None) -> Traffic:
        """The first ``count`` ratings, None for all."""
        return Traffic(self.users[:count], self.items[:count], self.values[:count], self.times[:count])


def future_of(release: Path, data: str | None, *, returning: bool = False) -> Traffic:
    """The ``future`` slice of the release's split.

    Args:
        data: the run's ``--data``; by default the release's dataset name.
        returning: only users with an earlier rating.

    Raises:
        InputError: the split has no future, or the data give another split.
    """
    manifest = read_manifest(release)
    if manifest.split.counts.get("future", 0) == 0:
        raise InputError(
            f"{release} was split by {manifest.split.protocol!r}, which has no future; make one with "
            "`python search/breakthrough.py --split future-holdout`"
        )
    dataset = load_dataset(data or manifest.dataset.name)
    split = make_split(dataset, manifest.split.protocol, seed=manifest.split.seed)
    if split.fingerprint != manifest.split.fingerprint:
        raise InputError(
            f"{data or manifest.dataset.name} gives another split than the release's: the data differ or "
            "have changed; give the run's own --data"
        )
    rows = split.future
    if returning:
        has_past = np.zeros(dataset.ratings.user_count, dtype=np.bool_)
        past = np.setdiff1d(np.arange(len(dataset.ratings)), rows)
        has_past[dataset.ratings.users[past]] = True
        rows = rows[has_past[dataset.ratings.users[rows]]]
    ratings = dataset.ratings.take(rows)
    if ratings.times is None:
        raise InputError(f"{dataset.name} has no timestamps, so it has no future to replay")
    order = np.argsort(ratings.times, kind="stable")
    return Traffic(
        users=dataset.user_ids[ratings.users[order]],
        items=dataset.catalogue.ids[ratings.items[order]],
        values=ratings.values[order],
        times=ratings.times[order],
    )
