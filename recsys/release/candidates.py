"""The candidates of one list: retrieved, rescored, then cut and ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.ranking.ranker import Ranker
from recsys.ranking.retrieval import RetrievalRequest
from recsys.release.arrays import ItemCatalogue
from recsys.release.diversity import diversify
from recsys.release.queries import Query, RecommendationSource, Rules
from recsys.release.user_state import UserState

MMR_CANDIDATES = 100
REASONS = 3


@dataclass
class CandidateList:
    """``items`` (n,) rows with their ``ranking`` (n,); once ``chosen``, they are the list in its order.

    ``states`` are the members' for this person, None where the items' mean stars must do."""

    query: Query
    person: UserState
    source: RecommendationSource
    items: NDArray[np.int64]
    ranking: NDArray[np.float32]
    states: list[Any] | None = None
    chosen: bool = False
    fallback: str = ""


def retrieval_request(query: Query, person: UserState, rules: Rules, *, count: int) -> RetrievalRequest:
    """What may be looked at closer for ``query``; boosted items always are."""
    exclude = [] if query.include_seen else [person.history.items]
    exclude += [rows for rows in (rules.hidden, query.exclude) if rows is not None]
    return RetrievalRequest(
        history=person.history,
        user=None if person.needs_fold_in else person.user,
        count=max(count, MMR_CANDIDATES) if rules.diversity else count,
        exclude=exclude,
        allowed=query.allowed,
        always_include=np.fromiter(rules.boosts, dtype=np.int64),
    )


def boost_values(items: NDArray[np.int64], rules: Rules) -> NDArray[np.float32]:
    """(n,) what the deployment adds to each item's score."""
    return np.array([rules.boosts.get(int(item), 0.0) for item in items], dtype=np.float32)


def rerank(draft: CandidateList, rules: Rules, shelf: ItemCatalogue) -> NDArray[np.int64]:
    """Cut ``draft`` down to its list, boosts and diversity applied; gives the places of what is kept."""
    ranking = draft.ranking
    if rules.boosts:
        ranking = ranking + boost_values(draft.items, rules)
    count, dial = draft.query.count, rules.diversity
    places = np.lexsort((draft.items, -ranking))[: max(count, MMR_CANDIDATES) if dial else count]
    if dial and len(places):
        pool = draft.items[places]
        places = places[diversify(shelf, pool, ranking[places], count=count, dial=dial)]
    draft.items, draft.ranking, draft.chosen = draft.items[places], ranking[places], True
    return places


def supporting_items(ranker: Ranker, person: UserState, item: int) -> tuple[int, ...]:
    """The items of the history that speak most for ``item``, the strongest first."""
    history = person.history.items
    voices = ranker.support(history, item)
    order = np.argsort(-voices, kind="stable")[:REASONS]
    return tuple(int(history[place]) for place in order if voices[place] > 0 and history[place] != item)
