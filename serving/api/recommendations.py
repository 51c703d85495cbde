"""Lists for a person: a known user, a session, many at once; and predicted ratings."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.http_errors import HttpError, documented
from serving.api.responses import JsonResponse, list_response, server_timing
from serving.api.schemas import (
    BatchBody,
    BatchResponse,
    Id,
    ListQuery,
    ListResponse,
    PredictionsQuery,
    PredictionsResponse,
    SessionBody,
    split_ids,
)
from serving.engine.requests import RecommendationRequest, Recommended
from serving.engine.service import Service

router = APIRouter(prefix="/v1", tags=["lists"])
UserId = Annotated[Id, Path(examples=["1"])]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def set_log_fields(request: Request, served: Recommended) -> None:
    """For the metrics' labels, the log and traces."""
    request.scope["stages"] = served.milliseconds
    request.scope["log_fields"].update(
        user_id=served.exposure.user_id,
        arm=served.exposure.arm,
        source=served.exposure.source,
        version=served.exposure.release_id[:12],
        exposure_id=served.exposure.exposure_id,
    )


@router.get(
    "/users/{user_id}/recommendations",
    response_model=None,
    responses={200: {"model": ListResponse}, **documented(503)},
    summary="Recommendations for a user",
)
async def user_recommendations(
    request: Request, user_id: UserId, query: Annotated[ListQuery, Query()]
) -> Response:
    """An unknown user gets popular items; ``source`` says so. ``Server-Timing`` tells where time went."""
    wanted = RecommendationRequest(
        user_id=user_id,
        count=query.count,
        genres=tuple(split_ids(query.genres)) if query.genres else (),
        exclude=split_ids(query.exclude) if query.exclude else (),
        include_seen=query.include_seen,
        explain=query.explain,
        arm=query.arm,
    )
    served = await service_of(request).recommend(wanted)
    set_log_fields(request, served)
    timing = {"server-timing": server_timing(served.milliseconds)}
    return JsonResponse(list_response(served, explain=query.explain), headers=timing)


@router.post(
    "/recommendations",
    response_model=None,
    responses={200: {"model": ListResponse}, **documented(400, 503)},
    summary="Recommendations for a session or a new user",
)
async def session_recommendations(request: Request, body: SessionBody) -> Response:
    """The ratings given here are folded in at once; nothing is trained and nothing of them is stored.
    Items that the release does not know are left out and named in ``unknown_items``."""
    service = service_of(request)
    served = await service.recommend(_recommendation_request(service, body))
    set_log_fields(request, served)
    timing = {"server-timing": server_timing(served.milliseconds)}
    return JsonResponse(
        list_response(served, explain=body.explain, unknown=_unknown_items(served, body)), headers=timing
    )


@router.post(
    "/recommendations/batch",
    response_model=None,
    responses={200: {"model": BatchResponse}, **documented(400, 503)},
    summary="Many lists in one call",
)
async def many_recommendations(request: Request, body: BatchBody) -> Response:
    """Each in its own arm and with its own exposure, in the order of the requests. Every list has the whole
    deadline from its own turn on; single calls go first."""
    service = service_of(request)
    wanted = [_recommendation_request(service, one) for one in body.requests]
    for one in wanted:  # one bad request refuses the call before any exposure is stored
        service.validate(one)
    served = await asyncio.gather(*(service.recommend(request, batched=True) for request in wanted))
    answers = [
        list_response(given, explain=one.explain, unknown=_unknown_items(given, one))
        for given, one in zip(served, body.requests, strict=True)
    ]
    return JsonResponse({"answers": answers})


@router.get(
    "/users/{user_id}/predictions",
    response_model=None,
    responses={200: {"model": PredictionsResponse}, **documented(404, 503)},
    summary="Predicted ratings of given items",
)
async def predictions(
    request: Request, user_id: UserId, query: Annotated[PredictionsQuery, Query()]
) -> Response:
    """In stars, by the user's arm; ``interval`` holds the rating with a chance of 80%."""
    wanted = split_ids(query.items)
    try:
        predicted = await service_of(request).predict(user_id, wanted)
    except KeyError as error:
        raise HttpError(404, f"unknown items: {', '.join(error.args[0][:10])}", code="unknown_item") from None
    version = predicted.release_id
    request.scope["log_fields"].update(user_id=user_id, arm=predicted.arm, version=version[:12])
    rows: list[JsonObject] = [
        {"id": item, "predicted_rating": round(value, 4), "interval": None}
        for item, value in zip(wanted, predicted.stars, strict=True)
    ]
    for row, (low, high) in zip(rows, predicted.intervals or (), strict=False):
        row["interval"] = [round(low, 4), round(high, 4)]
    return JsonResponse(
        {"user_id": user_id, "arm": predicted.arm, "model_version": version, "predictions": rows}
    )


def _recommendation_request(service: Service, body: SessionBody) -> RecommendationRequest:
    low, high = service.scale
    for given in body.ratings:
        if not low <= given.rating <= high:
            raise InputError(
                f"item {given.item_id}: a rating lies between {low:g} and {high:g}, got {given.rating:g}"
            )
    return RecommendationRequest(
        user_id=body.user_id,
        ratings={given.item_id: given.rating for given in body.ratings},
        count=body.count,
        genres=tuple(body.genres),
        exclude=body.exclude,
        include_seen=body.include_seen,
        explain=body.explain,
        arm=body.arm,
    )


def _unknown_items(served: Recommended, body: SessionBody) -> list[str]:
    return [given.item_id for given in body.ratings if served.loaded.item(given.item_id) is None]
