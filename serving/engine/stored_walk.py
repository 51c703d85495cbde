"""Filtered lists from stored ones, where a stored list is certain to hold all that the filtered one would.

A stored list holds all candidates of its person: the ranker's best LENGTH, with their blended scores and
stars. A filter leaves some of them, whose scores are scaled anew by the best that is left, as computing does.
Whatever is not stored has at most the lowest ranker's score of the stored ones and at most the highest
rating; a filtered list is certain where its last item scores higher than that.
"""

from __future__ import annotations

import numpy as np

from recsys.release.manifest import RankingCard, Scale
from recsys.release.queries import Query, Recommendation, RecommendationList, Rules
from serving.engine.stored_lists import LENGTH, SOURCES, StoredLists

MARGIN = 1e-4  # of a score, far above what rounding changes


def filtered_list(
    stored: StoredLists, query: Query, *, rules: Rules, ranking: RankingCard, scale: Scale
) -> RecommendationList | None:
    """The list of a query with ``allowed`` or ``exclude``, None where it has to be computed.

    Args:
        stored: lists of the release under ``rules``.
        query: of a known user without newer ratings.
        rules: with boosts or diversity an item's place depends on the others.
        ranking: the release's weights and number of candidates.
        scale: of its ratings.
    """
    weights = ranking.weights
    plain = query.user is not None and query.history is None and not query.include_seen and not query.explain
    if not plain or rules.boosts or rules.diversity or weights.ranking <= 0 or query.user is None:
        return None
    if (weights.rating and ranking.candidates > LENGTH) or SOURCES[stored.sources[query.user]] != "personal":
        return None
    items = stored.items[query.user]
    count = int((items >= 0).sum())
    items, scores, stars = (
        array[query.user, :count] for array in (stored.items, stored.scores, stored.stars)
    )
    unit = (stars - np.float32(scale.low)) / np.float32(scale.high - scale.low)
    retrieved = (scores - np.float32(weights.rating) * unit) / np.float32(weights.ranking)
    kept = np.ones(count, dtype=np.bool_)
    if query.allowed is not None:
        kept &= query.allowed[items]
    if query.exclude is not None:
        kept &= ~np.isin(items, query.exclude)
    complete = count < LENGTH  # there is nothing else that this person may have
    if kept.sum() < (1 if complete else query.count) or abs(float(retrieved.max()) - 1) > MARGIN:
        return None
    best = retrieved[kept].max()
    blended = np.float32(weights.ranking) * (retrieved[kept] / best) + np.float32(weights.rating) * unit[kept]
    order = np.argsort(-blended, kind="stable")[: query.count]
    elsewhere = weights.ranking * float(retrieved.min() / best) + weights.rating
    if not complete and float(blended[order[-1]]) < elsewhere + MARGIN * (weights.rating > 0):
        return None
    listed = tuple(
        Recommendation(item, score, star)
        for item, score, star in zip(
            items[kept][order].tolist(), blended[order].tolist(), stars[kept][order].tolist(), strict=True
        )
    )
    return RecommendationList(listed, "personal")
