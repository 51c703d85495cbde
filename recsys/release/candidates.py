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
from recsys.release.manifest import Manifest
from recsys.release.queries import Query, RecommendationSource, Rules
from recsys.release.user_state import UserState

MIN_CANDIDATES = 100  # of the ranker, rescored for every list
FIXED_CANDIDATES_SCHEMA = 3  # older releases keep the number that their golden lists were made with
MMR_CANDIDATES = 100
REASONS = 3


@dataclass
class CandidateList:
    """The candidates of one query.

    Attributes:
        query: Of the request.
        user_state: Its user.
        source: Of the recommendations.
        items: (n,) rows; once ``chosen``, the list in its order.
        ranking: (n,) scores that order it.
        states: The ensemble members' states of the user; None where stars are the items' means.
        chosen: Whether the list is final.
        fallback: Why the list is not the intended one; "" where it is.
    """

    query: Query
    user_state: UserState
    source: RecommendationSource
    items: NDArray[np.int64]
    ranking: NDArray[np.float32]
    states: list[Any] | None = None
    chosen: bool = False
    fallback: str = ""

    @property
    def need_states(self) -> bool:
        """Whether stars must be predicted."""
        return len(self.items) > 0 and not self.fallback


def retrieval_request(
    query: Query, user_state: UserState, rules: Rules, manifest: Manifest
) -> RetrievalRequest:
    """The request to the retriever for one query.

    Args:
        query: Of the user.
        user_state: The user, whose seen items are excluded.
        rules: Of the deployment; boosted items are always candidates.
        manifest: Of the release, which sets the number of candidates.
    """
    count = _candidate_count(query, rules, manifest)
    exclude = [] if query.include_seen else [user_state.history.items]
    exclude += [rows for rows in (rules.hidden, query.exclude) if rows is not None]
    return RetrievalRequest(
        history=user_state.history,
        user=None if user_state.needs_fold_in else user_state.user,
        count=max(count, MMR_CANDIDATES) if rules.diversity else count,
        exclude=exclude,
        allowed=query.allowed,
        always_include=np.fromiter(rules.boosts, dtype=np.int64),
    )


def _candidate_count(query: Query, rules: Rules, manifest: Manifest) -> int:
    """The same number for all shorter lists, so that the first ten of a top-100 are the top ten."""
    if not (manifest.ranking.weights.rating or rules.diversity or rules.boosts):
        return query.count
    least = manifest.ranking.candidates
    if manifest.schema_version >= FIXED_CANDIDATES_SCHEMA:
        least = max(least, MIN_CANDIDATES)
    return max(query.count, least)


def boost_values(items: NDArray[np.int64], rules: Rules) -> NDArray[np.float32]:
    """The deployment's boosts.

    Args:
        items: (n,) rows.
        rules: Of the deployment.

    Returns:
        (n,) added to each item's score; 0 for most.
    """
    return np.array([rules.boosts.get(int(item), 0.0) for item in items], dtype=np.float32)


def rerank(candidates: CandidateList, rules: Rules, catalogue: ItemCatalogue) -> NDArray[np.int64]:
    """Cuts ``candidates`` down to the final list, with boosts and diversity applied.

    Args:
        candidates: Changed in place.
        rules: Of the deployment.
        catalogue: Of the release, for the similarity of items.

    Returns:
        (list,) indices into the items before the cut.
    """
    ranking = candidates.ranking
    if rules.boosts:
        ranking = ranking + boost_values(candidates.items, rules)
    count, dial = candidates.query.count, rules.diversity
    order = np.lexsort((candidates.items, -ranking))[: max(count, MMR_CANDIDATES) if dial else count]
    if dial and len(order):
        pool = candidates.items[order]
        order = order[diversify(catalogue, pool, ranking[order], count=count, dial=dial)]
    candidates.items, candidates.ranking, candidates.chosen = candidates.items[order], ranking[order], True
    return order


def supporting_items(ranker: Ranker, user_state: UserState, item: int) -> tuple[int, ...]:
    """The items of the history that contribute most to an item's score.

    Args:
        ranker: Of the release.
        user_state: The user.
        item: The recommended row.

    Returns:
        At most ``REASONS`` rows, the largest contribution first.
    """
    history = user_state.history.items
    support = ranker.support(history, item)
    order = np.argsort(-support, kind="stable")[:REASONS]
    return tuple(int(history[index]) for index in order if support[index] > 0 and history[index] != item)
