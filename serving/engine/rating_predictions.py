"""Feedback on its way in: what was predicted is noted beside a rating, before anybody learns it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from serving.domain import Feedback
from serving.engine.requests import RecommendationRequest, to_query

if TYPE_CHECKING:
    from serving.engine.service import Service

log = logging.getLogger(__name__)


async def attach_predictions(service: Service, events: Sequence[Feedback]) -> list[Feedback]:
    """Ratings with what the user's arm would have predicted a moment before it learned them."""
    wanted: dict[str, list[str]] = {}
    for event in events:
        if event.kind == "rating" and event.item_id is not None:
            wanted.setdefault(event.user_id, []).append(event.item_id)
    stars: dict[tuple[str, str], float] = {}
    for user_id, items in wanted.items():
        loaded = service.deployment.arms[service.deployment.assign(user_id, None).arm]
        known = [item for item in items if loaded.item(item) is not None]
        if not known:
            continue
        try:
            values = await service.compute(
                loaded.recommender.predict,
                to_query(loaded, RecommendationRequest(user_id=user_id), service.recent_ratings),
                loaded.items(known),
            )
        except Exception as error:  # feedback is worth more than a figure beside it
            log.warning("no prediction beside a rating: %s", type(error).__name__)
            continue
        stars |= {
            (user_id, item): round(float(value), 4)
            for item, value in zip(known, np.asarray(values), strict=True)
        }
    return [replace(event, predicted=stars.get((event.user_id, event.item_id or ""))) for event in events]
