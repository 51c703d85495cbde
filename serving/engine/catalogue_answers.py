"""Answers other than lists: predicted ratings, similar items and popular items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.release.added_items import added_stars, similar_to_added
from recsys.release.queries import Recommendation
from recsys.types import BoolArray
from serving.engine.list_computation import ListComputation
from serving.engine.live_popularity import LivePopularity
from serving.engine.recent_ratings import RecentRatings
from serving.engine.release_loader import Deployment
from serving.engine.requests import PredictedRatings, RecommendationRequest, item_ids, to_query
from serving.engine.served_release import ServedRelease


async def predict(
    computation: ListComputation,
    deployment: Deployment,
    recent_ratings: RecentRatings,
    *,
    user_id: str,
    values: Sequence[str],
) -> PredictedRatings:
    """Predicted ratings of items for a user. Items that were added after the release get the mean rating that
    is predicted from their features.

    Args:
        computation: Of the replica.
        deployment: In service.
        recent_ratings: Since the release.
        user_id: Any id.
        values: Item ids as in a query string.

    Raises:
        KeyError: With the ids that are not in the catalogue.
        UnscoredItem: An added item that the arm's release cannot score.
    """
    arm = deployment.assign(user_id, None).arm
    loaded = deployment.arms[arm]
    requested = item_ids(loaded, values)
    unknown = [item for item in requested if loaded.view.row(item) is None]
    if unknown:
        raise KeyError(unknown)
    rows = {item: loaded.rows.item(item) for item in requested}
    added = {item: loaded.unreleased.features_of(item) for item, row in rows.items() if row is None}
    query = to_query(loaded, RecommendationRequest(user_id=user_id), recent_ratings)
    stars, ends = await computation.call(
        loaded.recommender.predict_interval, query, loaded.rows.items(requested)
    )
    known = [item for item in requested if item not in added]
    figures = dict(zip(known, map(float, stars), strict=True))
    intervals: dict[str, tuple[float, float] | None] = {}
    if ends is not None:
        intervals |= zip(known, zip(*(map(float, end) for end in ends), strict=True), strict=True)
    if added:
        means = added_stars(loaded.release, np.stack(list(added.values())))
        figures |= dict(zip(added, map(float, means), strict=True))
        intervals |= {item: loaded.recommender.usual_interval(figures[item]) for item in added}
    return PredictedRatings(
        arm,
        loaded.release_id,
        item_ids=requested,
        stars=[figures[item] for item in requested],
        intervals=[intervals.get(item) for item in requested],
    )


async def similar(
    computation: ListComputation, loaded: ServedRelease, *, item_id: str, count: int, where: str | None = None
) -> list[Recommendation]:
    """The most similar released items that may be listed.

    Raises:
        InputError: a wrong filter.
        UnscoredItem: the item was added after the release was made, which cannot score it.
    """
    allowed, row = listable(loaded, where=where), loaded.rows.item(item_id)
    if row is None:
        features = loaded.unreleased.features_of(item_id)
        return list(
            await computation.call(
                lambda: similar_to_added(loaded.recommender, features, count, allowed=allowed)
            )
        )
    items: list[Recommendation] = await computation.call(
        lambda: loaded.recommender.similar(row, count, allowed=allowed)
    )
    return items


async def popular(
    computation: ListComputation,
    loaded: ServedRelease,
    *,
    count: int,
    genre: str | None,
    trending: bool,
    where: str | None = None,
    live: LivePopularity | None = None,
) -> list[Recommendation]:
    """The most rated items that may be listed; ``live`` counts the ratings since the release.

    Raises:
        InputError: An unknown genre or a wrong filter.
    """
    counts = None
    if live is not None and live.belongs_to(loaded):
        counts = live.trending if trending else live.counts
    allowed = listable(loaded, genre=genre, where=where)
    items: list[Recommendation] = await computation.call(
        lambda: loaded.recommender.popular(count, trending=trending, allowed=allowed, counts=counts)
    )
    return items


def listable(loaded: ServedRelease, *, genre: str | None = None, where: str | None = None) -> BoolArray:
    """(items,) mask of the items that match the filters and are not hidden."""
    allowed = np.ones(len(loaded.release.items), dtype=np.bool_)
    if genre is not None:
        allowed &= loaded.of_genres((genre,))
    if where is not None:
        allowed &= loaded.where(where)
    if loaded.rules.hidden is not None:
        allowed[loaded.rules.hidden] = False
    return allowed
