"""The route of feedback: acknowledged when it is on disk, and used from the next list on."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from recsys.errors import InputError
from serving.api.dependencies import service_of
from serving.api.http_errors import answers
from serving.api.response_schemas import FeedbackResponse
from serving.api.responses import JsonResponse
from serving.api.schemas import FeedbackBody
from serving.domain import Feedback

CLOCK_SLACK = 60.0  # seconds that a sender's clock may run ahead; later times are replaced by now

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
                at=now if event.at is None else _not_in_the_future(event.at, now),
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


def _not_in_the_future(at: float, now: float) -> float:
    return at if at <= now + CLOCK_SLACK else now
