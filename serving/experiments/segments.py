"""User segments by activity and by columns of the user table, as the first arm's release has them.

They precede the first list, so that no arm can have changed them. All segments of the release count, whether
or not their users came: alpha is divided over all of them from the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from recsys.data.user_groups import UNKNOWN
from recsys.release.loaded_release import Release

NOTHING_RATED, LESS_ACTIVE, MORE_ACTIVE = "without ratings before", "less active half", "more active half"


@dataclass(frozen=True)
class Segment:
    """A group of users. Alpha is divided over ``of``, the number of segments; none of them decides."""

    name: str
    users: AbstractSet[str]
    of: int


class UserSegments:
    """The segments of an experiment's users, and their ``activity``: log(1 + earlier ratings)."""

    def __init__(self, release: Release, columns: Sequence[str] = ()) -> None:
        """``columns`` that the release does not have are ignored."""
        self.activity: dict[str, float] = {}
        self._users, self._ends = release.users, release.histories.ends
        lengths = np.diff(self._ends)
        self._middle = float(np.median(lengths[lengths > 0])) if np.any(lengths > 0) else 0.0
        groups = release.user_groups() if columns else None
        self._groups = groups
        self._columns = [column for column in columns if groups is not None and column in groups.names]
        names = [NOTHING_RATED, LESS_ACTIVE, MORE_ACTIVE]
        for column in self._columns:
            assert groups is not None
            names += [f"{column}: {group}" for group in (*groups.names[column], UNKNOWN)]
        self._members: dict[str, set[str]] = {name: set() for name in names}

    def add(self, users: Iterable[str]) -> None:
        """Assign users to segments; users added before stay."""
        for user in users:
            if user in self.activity:
                continue
            row = self._users.row(user)
            rated = 0 if row is None else int(self._ends[row + 1] - self._ends[row])
            self.activity[user] = float(np.log1p(rated))
            half = LESS_ACTIVE if rated <= self._middle else MORE_ACTIVE
            self._members[NOTHING_RATED if rated == 0 else half].add(user)
            for column in self._columns:
                assert self._groups is not None
                self._members[f"{column}: {self._groups.group_of(column, row)}"].add(user)

    def segments(self) -> list[Segment]:
        """All segments, empty ones included."""
        return [Segment(name, users, len(self._members)) for name, users in self._members.items()]
