"""Exploration: random items at a bounded share of a list's positions, with logged propensities.

The first n of the ranked candidates are the list and the others are the pool: the next best, then the best
items without ratings (scored from their features), as many as the list is long. Each position shows a random
item of the pool with probability ``share``; positions are drawn by systematic sampling (a single uniform
offset), so that a list of n has floor(n share) or one more of them. Pool items are drawn without replacement.
Hence the probability of an item at its position is exactly 1 - share for an item of the list and share / pool
for one of the pool. The draw is seeded by the exposure id: a replay of the log draws the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from recsys.release.queries import Recommendation

MAX_EXPLORE = (
    0.3  # share of positions; a kept item's propensity is at least 0.7, an explored one's at most 0.3
)
CANDIDATES_PER_POSITION = 3  # depth of the pool: a deeper one has more support and worse lists
MAX_CANDIDATES = 300


def candidate_count(count: int) -> int:
    """Recommendations to request for a list of ``count`` with a pool."""
    return max(count, min(MAX_CANDIDATES, count * CANDIDATES_PER_POSITION))


def explored(
    candidates: Sequence[Recommendation], count: int, *, share: float, exposure_id: str
) -> tuple[tuple[Recommendation, ...], tuple[float, ...]]:
    """The list that is shown, and the propensity of each position.

    Args:
        candidates: Ranked, best first; those beyond ``count`` are the pool.
        count: Items of the list.
        share: Probability of a position to be explored, 0 to ``MAX_EXPLORE``.
        exposure_id: The draw's seed.

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
