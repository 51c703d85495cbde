"""Interleaving by team draft: the lists of several arms merged for one person, who compares them.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?" (CIKM 2008); for more
than two arms team-draft multileaving (Schuth et al., CIKM 2014). In each round the arms, in random order,
each bring their best item that is not in the list yet, and what people do with an item is credited to the
arm that brought it. Two deviations, both without a preference for anybody: where all arms would bring the
same item it stands there for nobody (what all agree on tells them apart in nothing and only adds noise), and
so does what is brought once an arm has run out of items.

Each round's items stand in random order, so an arm's item is at each of their places as often as another's:
people who convert by position alone prefer no arm. The draw is seeded by the exposure's id.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHARED = ""  # the team of an item that no arm is credited with


@dataclass(frozen=True)
class TeamDraft:
    """(n,) item ids best first, the arm that brought each (``SHARED``: none), and the probability with which
    each stood in its place; () for three arms and more, whose rounds depend on one another."""

    items: tuple[str, ...]
    teams: tuple[str, ...]
    propensities: tuple[float, ...]


def team_draft(lists: Mapping[str, Sequence[str]], count: int, *, seed: str) -> TeamDraft:
    """Merge the arms' lists of item ids, each best first, into one of at most ``count`` items."""
    draw = random.Random(seed)
    items: dict[str, str] = {}
    chances: list[float] = []
    while len(items) < count:
        wishes = {
            arm: next((item for item in ranked if item not in items), None) for arm, ranked in lists.items()
        }
        offered = [item for item in wishes.values() if item is not None]
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
    """What each arm brings in turn; credited to nobody where an arm has nothing left to bring."""
    picks: dict[str, str] = {}
    for arm in order:
        best = next((item for item in lists[arm] if item not in items and item not in picks), None)
        if best is not None:
            picks[best] = arm
    complete = len(picks) == len(order)
    return [(item, arm if complete else SHARED) for item, arm in picks.items()]
