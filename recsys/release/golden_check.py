"""Golden lists: a few users' lists in the manifest, which a loaded release must reproduce.

Hashes prove that the files are unchanged; the golden lists prove that this machine's arithmetic and this
version's code compute the same from them.
"""

from __future__ import annotations

import numpy as np

from recsys.errors import InputError
from recsys.release.loaded_release import Release
from recsys.release.manifest import GoldenList
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from recsys.types import IntArray

# Float32 sums in another order differ by some 1e-6; a wrong weight or array by far more.
TOLERANCE = 1e-3


def make_golden(release: Release, users: IntArray) -> list[GoldenList]:
    """The lists of some users, as the release recommends them now.

    Args:
        release: Opened.
        users: (n,) rows.
    """
    queries = [Query(user=int(user)) for user in users]
    lists = []
    for query, answer in zip(queries, Recommender(release).recommend(queries), strict=True):
        listed = answer.recommendations
        lists.append(
            GoldenList(
                user=query.user or 0,
                items=[entry.item for entry in listed],
                scores=[round(entry.score, 6) for entry in listed],
                predicted=[round(entry.predicted_rating, 6) for entry in listed],
            )
        )
    return lists


def check_golden(release: Release) -> None:
    """Compares the golden lists with what the release recommends now.

    Args:
        release: Opened.

    Raises:
        InputError: A list differs by more than rounding.
    """
    golden = release.manifest.golden_lists
    if not golden:
        return
    for old, new in zip(
        golden, make_golden(release, np.array([entry.user for entry in golden])), strict=True
    ):
        if not _same(old, new):
            raise InputError(
                f"{release.folder}: user row {old.user} got {new.items} here, but {old.items} when the "
                "release was made: serve it with the version and libraries that its manifest names"
            )


def _same(old: GoldenList, new: GoldenList) -> bool:
    """Equal scores in order; items of near-equal score may have changed places."""
    if len(old.items) != len(new.items) or not np.allclose(old.scores, new.scores, atol=TOLERANCE):
        return False
    both = sorted(set(old.items) & set(new.items))
    before = dict(zip(old.items, old.predicted, strict=True))
    now = dict(zip(new.items, new.predicted, strict=True))
    near = np.allclose([before[item] for item in both], [now[item] for item in both], atol=TOLERANCE)
    return near and len(both) >= len(old.items) - 1
