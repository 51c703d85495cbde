"""The prediction stored beside each rating: what the user's arm expected before it learned the rating."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from serving.domain import Feedback
from serving.engine.recent_ratings import RecentRatings
from serving.engine.release_loader import Deployment
from serving.engine.requests import RecommendationRequest, to_query

log = logging.getLogger(__name__)


async def attach_predictions(
    events: Sequence[Feedback],
    *,
    deployment: Deployment,
    recent: RecentRatings,
    compute: Callable[..., Awaitable[Any]],
) -> list[Feedback]:
    """The events with ``predicted`` set on each rating of a known item, in stars.

    Args:
        events: feedback as it came in, not yet stored.
        deployment: the releases in service; a user's own arm predicts.
        recent: ratings newer than the release.
        compute: runs a function off the event loop, as ``ListComputation.call`` does.
    """
    wanted: dict[str, list[str]] = {}
    for event in events:
        if event.kind == "rating" and event.item_id is not None:
            wanted.setdefault(event.user_id, []).append(event.item_id)
    stars: dict[tuple[str, str], float] = {}
    for user_id, items in wanted.items():
        loaded = deployment.arms[deployment.assign(user_id, None).arm]
        known = [item for item in items if loaded.rows.item(item) is not None]
        if not known:
            continue
        try:
            values = await compute(
                loaded.recommender.predict,
                to_query(loaded, RecommendationRequest(user_id=user_id), recent),
                loaded.rows.items(known),
            )
        except Exception as error:  # feedback is worth more than a figure beside it
            log.warning("no prediction beside a rating: %s", type(error).__name__)
            continue
        stars |= {
            (user_id, item): round(float(value), 4)
            for item, value in zip(known, np.asarray(values), strict=True)
        }
    return [replace(event, predicted=stars.get((event.user_id, event.item_id or ""))) for event in events]
