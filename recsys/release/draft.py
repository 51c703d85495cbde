"""A list in the making: what may be in it, who is looked at closer, who stays and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.packed import PackedRanker
from recsys.ranking.retrieval import Wish
from recsys.release.answers import Query, Rules, Source
from recsys.release.contents import Shelf
from recsys.release.diversity import diversify
from recsys.release.people import Person

MMR_CANDIDATES = 100
REASONS = 3


@dataclass
class Draft:
    """``items`` (n,) rows with their ``ranking`` (n,); once ``chosen``, they are the list in its order.

    ``states`` are the members' for this person, None where the items' mean stars must do."""

    query: Query
    person: Person
    source: Source
    items: NDArray[np.int64]
    ranking: NDArray[np.float32]
    states: list[Any] | None = None
    chosen: bool = False
    fallback: str = ""


def wish_of(query: Query, person: Person, rules: Rules, *, count: int) -> Wish:
    """What may be looked at closer for ``query``; boosted items always are."""
    barred = [] if query.include_seen else [person.history.items]
    barred += [rows for rows in (rules.hidden, query.exclude) if rows is not None]
    return Wish(
        history=person.history,
        user=None if person.fresh else person.user,
        count=max(count, MMR_CANDIDATES) if rules.diversity else count,
        barred=barred,
        allowed=query.allowed,
        also=np.fromiter(rules.boosts, dtype=np.int64),
    )


def boosts_of(items: NDArray[np.int64], rules: Rules) -> NDArray[np.float32]:
    """(n,) what the deployment adds to each item's score."""
    return np.array([rules.boosts.get(int(item), 0.0) for item in items], dtype=np.float32)


def choose(draft: Draft, rules: Rules, shelf: Shelf) -> NDArray[np.int64]:
    """Cut ``draft`` down to its list, boosts and diversity applied; gives the places of what is kept."""
    ranking = draft.ranking
    if rules.boosts:
        ranking = ranking + boosts_of(draft.items, rules)
    count, dial = draft.query.count, rules.diversity
    places = np.lexsort((draft.items, -ranking))[: max(count, MMR_CANDIDATES) if dial else count]
    if dial and len(places):
        pool = draft.items[places]
        places = places[diversify(shelf, pool, ranking[places], count=count, dial=dial)]
    draft.items, draft.ranking, draft.chosen = draft.items[places], ranking[places], True
    return places


def because(ranker: PackedRanker, person: Person, item: int) -> tuple[int, ...]:
    """The items of the history that speak most for ``item``, the strongest first."""
    history = person.history.items
    voices = ranker.support(history, item)
    order = np.argsort(-voices, kind="stable")[:REASONS]
    return tuple(int(history[place]) for place in order if voices[place] > 0 and history[place] != item)
