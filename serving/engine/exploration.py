"""Exploration: a bounded share of a list's places drawn at random, with the propensities logged.

Of a ranked list of candidates the first n are the list and the rest are the pool: the next best, then the
best of the items that nobody has rated (scored from their features), as many as the list is long. Each place
is given to a random member of the pool with probability ``share``; the places are drawn by systematic
sampling (one uniform offset), so that a list of n has floor(n share) or one more of them. Pool members are
drawn without replacement. Hence the probability with which an item stands in its place is exactly 1 - share
for an item of the list and share / pool for one of the pool. The draw is seeded by the exposure id: a replay
of the log draws the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from recsys.release.queries import Recommendation

MAX_EXPLORE = 0.3  # share of places; a kept item's propensity is at least 0.7, an explored one's at most 0.3
CANDIDATES_PER_PLACE = 3  # how deep the pool reaches; deeper is more support and worse lists
MAX_CANDIDATES = 300


def candidate_count(count: int) -> int:
    """How many recommendations to ask for so that ``count`` places have a pool to draw from."""
    return max(count, min(MAX_CANDIDATES, count * CANDIDATES_PER_PLACE))


def explored(
    candidates: Sequence[Recommendation], count: int, *, share: float, exposure_id: str
) -> tuple[tuple[Recommendation, ...], tuple[float, ...]]:
    """The list that is shown, and the propensity of each of its places.

    Args:
        candidates: ranked, best first; those beyond ``count`` are the pool.
        count: places in the list.
        share: probability that a place is explored, 0 to ``MAX_EXPLORE``.
        exposure_id: the draw's seed.

    Returns:
        At most ``count`` recommendations, and as many propensities in (0, 1].
    """
    listed, pool = list(candidates[:count]), list(candidates[count:])
    if share <= 0 or len(pool) < math.floor(share * len(listed)) + 1:
        return tuple(listed), (1.0,) * len(listed)
    draw = random.Random(exposure_id)
    offset = draw.random()
    positions = [
        position
        for position in range(len(listed))
        if math.floor(offset + share * (position + 1)) > math.floor(offset + share * position)
    ]
    propensities = [1.0 - share] * len(listed)
    for position, chosen in zip(positions, draw.sample(pool, len(positions)), strict=True):
        listed[position] = chosen
        propensities[position] = share / len(pool)
    return tuple(listed), tuple(propensities)
