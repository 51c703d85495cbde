"""The route of feedback: acknowledged when it is on disk, and used from the next list on."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from recsys.data.event_store import CLOCK_SLACK_SECONDS
from recsys.errors import InputError
from serving.api.dependencies import service_of
from serving.api.http_errors import answers
from serving.api.response_schemas import FeedbackResponse
from serving.api.responses import JsonResponse
from serving.api.schemas import FeedbackBody, FeedbackEvent
from serving.domain import Feedback
from serving.engine.recent_ratings import RecentRatings
from serving.identifiers import exposure_time

CLOCK_STEP_SECONDS = 86_400.0  # by which our own clock may have been set back since a list was shown

router = APIRouter(prefix="/v1", tags=["feedback"])


@router.post(
    "/feedback",
    **answers(FeedbackResponse, 400, 409, 503),
    summary="Record impressions, clicks, ratings and custom events",
)
async def feedback(request: Request, body: FeedbackBody) -> Response:
    """All events of the body are stored, or none. After a 503 send the body again: an ``event_id`` is stored
    once. 409 names event ids that were used before with other content."""
    service = service_of(request)
    low, high = service.scale
    now = time.time()
    events = []
    for event in body.events:
        if event.rating is not None and not low <= event.rating <= high:
            raise InputError(
                f"event {event.event_id}: a rating lies between {low:g} and {high:g}, got {event.rating:g}"
            )
        events.append(
            Feedback(
                event_id=event.event_id,
                exposure_id=event.exposure_id,
                user_id=event.user_id,
                kind=event.kind,
                item_id=event.item_id,
                value=event.rating,
                at=_time_of(event, service.recent_ratings, now),
            )
        )
    new = await service.record_feedback(events)
    stored = [item.event_id for item in events if item.event_id in new]
    duplicates = [item.event_id for item in events if item.event_id not in new]
    for item in events:
        outcome = "stored" if item.event_id in new else "duplicate"
        kind = item.kind if item.kind in ("impression", "click", "rating") else "other"
        service.metrics.feedback.labels(kind, outcome).inc()
    return JsonResponse({"stored": list(dict.fromkeys(stored)), "duplicates": duplicates})


def _time_of(event: FeedbackEvent, recent_ratings: RecentRatings, now: float) -> float:
    """When an event happened, Unix seconds: as its sender says, unless that is in the future, else now.

    Our own clock may have been set back: what it dates is no earlier than the list that it answers, and a
    rating follows the one that it replaces.
    """
    dated = event.at is not None and event.at <= now + CLOCK_SLACK_SECONDS
    if dated and event.at is not None:
        at = event.at
    else:
        shown = exposure_time(event.exposure_id) or now
        at = shown if now < shown <= now + CLOCK_STEP_SECONDS else now
    if event.kind != "rating" or event.item_id is None:
        return at
    return recent_ratings.time_of_next(event.user_id, event.item_id, at, dated=dated, now=now)
