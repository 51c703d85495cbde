"""The users of an experiment in the order of their entry, as the betting tests take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.types import BoolArray, FloatArray
from serving.domain import ExperimentState
from serving.experiments.aggregates import Aggregates, UserAggregates

SharesByRevision = Mapping[int, Mapping[str, float]]


def planned_shares(history: Sequence[ExperimentState]) -> dict[int, dict[str, float]]:
    """Revision -> arm -> share."""
    return {state.revision: {arm.name: arm.share for arm in state.arms} for state in history}


@dataclass(frozen=True)
class Entrants:
    """(n,) users of two arms in the order of their entry; ``treated`` is True for the treatment's users,
    ``shares`` are the treatment's shares of the two arms at their entry."""

    user_ids: Sequence[str]
    users: Sequence[UserAggregates]
    treated: BoolArray
    shares: FloatArray

    def rated(self) -> Entrants:
        """Those who gave a rating."""
        rows = [row for row, user in enumerate(self.users) if user.rated]
        users, user_ids = [self.users[row] for row in rows], [self.user_ids[row] for row in rows]
        return Entrants(user_ids, users, self.treated[rows], self.shares[rows])


def entrants(
    aggregates: Aggregates,
    shares: SharesByRevision,
    *,
    control: str,
    treatment: str,
    include: Callable[[str, UserAggregates], bool] = lambda _, __: True,
) -> Entrants:
    """Users of either arm that ``include`` accepts.

    Users who entered at a revision that gave one of the two arms no share are left out.

    Args:
        aggregates: the users.
        shares: the planned shares, by revision.
        include: decides by user id and aggregates.
    """
    pairs = {
        revision: (arms.get(control, 0.0), arms.get(treatment, 0.0)) for revision, arms in shares.items()
    }
    chances = {revision: pair[1] / sum(pair) for revision, pair in pairs.items() if min(pair) > 0}
    rows = [
        (user.first_at, user_id, user)
        for user_id, user in aggregates.users.items()
        if user.arm in (control, treatment) and user.revision in chances and include(user_id, user)
    ]
    rows.sort(key=lambda row: row[:2])
    users = [user for _, _, user in rows]
    return Entrants(
        [user_id for _, user_id, _ in rows],
        users,
        np.array([user.arm == treatment for user in users], dtype=np.bool_),
        np.array([chances[user.revision] for user in users], dtype=np.float64),
    )
