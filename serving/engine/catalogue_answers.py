"""Predicted ratings, similar items and popular items: what is asked for beside lists."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.release.queries import Recommendation
from serving.engine.list_computation import ListComputation
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
    """Stars for items that the user's arm must know (else KeyError with those it does not); ``values`` as
    in a query string."""
    arm = deployment.assign(user_id, None).arm
    loaded = deployment.arms[arm]
    wanted = item_ids(loaded, values)
    unknown = [item for item in wanted if loaded.item(item) is None]
    if unknown:
        raise KeyError(unknown)
    query = to_query(loaded, RecommendationRequest(user_id=user_id), recent_ratings)
    stars, ends = await computation.call(loaded.recommender.predict_interval, query, loaded.items(wanted))
    return PredictedRatings(
        arm,
        loaded.release_id,
        item_ids=wanted,
        stars=[float(value) for value in stars],
        intervals=None
        if ends is None
        else [(float(low), float(high)) for low, high in zip(*ends, strict=True)],
    )


async def similar(
    computation: ListComputation, loaded: ServedRelease, *, row: int, count: int
) -> list[Recommendation]:
    """The visible items most like the one in ``row``."""
    asked = count + len(_hidden(loaded))
    return _visible(loaded, await computation.call(loaded.recommender.similar, row, asked))[:count]


async def popular(
    computation: ListComputation, loaded: ServedRelease, *, count: int, genre: str | None, trending: bool
) -> list[Recommendation]:
    """The visible items most rated. Raises InputError for an unknown genre."""
    asked = count + len(_hidden(loaded))
    found = await computation.call(lambda: loaded.recommender.popular(asked, genre, trending=trending))
    return _visible(loaded, found)[:count]


def _hidden(loaded: ServedRelease) -> set[int]:
    return set() if loaded.rules.hidden is None else set(loaded.rules.hidden.tolist())


def _visible(loaded: ServedRelease, listed: list[Recommendation]) -> list[Recommendation]:
    hidden = _hidden(loaded)
    return [entry for entry in listed if entry.item not in hidden]
