"""What users did: acknowledged when it is on disk, and part of the next list from then on."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from recsys.errors import InputError
from serving.api.answers import Json
from serving.api.errors import documented
from serving.api.lists import service_of
from serving.api.schemas import FeedbackAnswer, FeedbackBody
from serving.records import Feedback

CLOCK_SLACK = 60.0  # seconds that a sender's clock may run ahead

router = APIRouter(prefix="/v1", tags=["feedback"])


@router.post(
    "/feedback",
    response_model=None,
    responses={200: {"model": FeedbackAnswer}, **documented(400, 503)},
    summary="Impressions, clicks and ratings",
)
async def feedback(request: Request, body: FeedbackBody) -> Response:
    """All of a body or none of it. 503 means that it may or may not be stored: send it again, an
    ``event_id`` counts once."""
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
                at=now if event.at is None else min(event.at, now + CLOCK_SLACK),
            )
        )
    new = await service.tell(events)
    stored = [told.event_id for told in events if told.event_id in new]
    duplicates = [told.event_id for told in events if told.event_id not in new]
    for told in events:
        outcome = "stored" if told.event_id in new else "duplicate"
        service.metrics.feedback.labels(told.kind, outcome).inc()
    return Json({"stored": list(dict.fromkeys(stored)), "duplicates": duplicates})
