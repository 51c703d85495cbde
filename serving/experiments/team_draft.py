"""Team-draft interleaving: the lists of several arms merged into one for each user.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?" (CIKM 2008); for more
than two arms team-draft multileaving (Schuth et al., CIKM 2014). In each round the arms, in random order,
each contribute their best item that is not in the list yet, and conversions on an item are credited to its
arm. Two deviations, both neutral between arms: an item that all arms would contribute next is credited to
none (it cannot distinguish them and only adds noise), and so are items contributed after an arm has run out.

Each round's items are in random order, so position bias favours no arm. The draw is seeded by the exposure's
id.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHARED = ""  # team of an item that is credited to no arm


@dataclass(frozen=True)
class TeamDraft:
    """(n,) item ids best first, the arm of each (``SHARED``: none), and the propensity of each at its
    position; () for three or more arms, whose rounds depend on one another."""

    items: tuple[str, ...]
    teams: tuple[str, ...]
    propensities: tuple[float, ...]


def team_draft(lists: Mapping[str, Sequence[str]], count: int, *, seed: str) -> TeamDraft:
    """Merge the arms' lists of item ids, each best first, into one of at most ``count`` items."""
    draw = random.Random(seed)
    items: dict[str, str] = {}
    chances: list[float] = []
    while len(items) < count:
        candidates = {
            arm: next((item for item in ranked if item not in items), None) for arm, ranked in lists.items()
        }
        offered = [item for item in candidates.values() if item is not None]
        if not offered:
            break
        if len(offered) < len(lists) or len(set(offered)) == 1:
            items[offered[0]] = SHARED
            chances.append(1.0)
            continue
        picks = _round(lists, items, draw.sample(list(lists), len(lists)))
        for item, arm in picks[: count - len(items)]:
            items[item] = arm
            chances.append(1 / len(lists))
    propensities = tuple(chances) if len(lists) <= 2 else ()
    return TeamDraft(tuple(items), tuple(items.values()), propensities)


def _round(
    lists: Mapping[str, Sequence[str]], items: Mapping[str, str], order: Sequence[str]
) -> list[tuple[str, str]]:
    """One item of each arm in turn; credited to none where an arm has run out."""
    picks: dict[str, str] = {}
    for arm in order:
        best = next((item for item in lists[arm] if item not in items and item not in picks), None)
        if best is not None:
            picks[best] = arm
    complete = len(picks) == len(order)
    return [(item, arm if complete else SHARED) for item, arm in picks.items()]
