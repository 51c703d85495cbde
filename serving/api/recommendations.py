"""Lists for a person: a known user, a session, many at once; and predicted ratings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from starlette.types import Scope

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.http_errors import HttpError, documented
from serving.api.id_paths import register_any_id
from serving.api.response_schemas import BatchResponse, ListResponse, PredictionsResponse
from serving.api.responses import JsonResponse, list_json, list_response, server_timing
from serving.api.schemas import (
    BatchBody,
    Id,
    ListQuery,
    PredictionsQuery,
    SessionBody,
    UserListQuery,
    UserPredictionsQuery,
)
from serving.engine.admission import BatchCall
from serving.engine.catalogue_answers import predict
from serving.engine.requests import RecommendationRequest, Recommended, excluded_ids
from serving.engine.service import Service

register_any_id()
router = APIRouter(prefix="/v1", tags=["lists"])
USER_LISTS = "/v1/users/{user_id:any}/recommendations"
UserId = Annotated[Id, Path(examples=["1"])]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def set_log_fields(scope: Scope, served: Recommended) -> None:
    """For the metrics' labels, the log and traces."""
    scope["stages"] = served.milliseconds
    scope["log_fields"].update(
        user_id=served.exposure.user_id,
        arm=served.exposure.arm,
        source=served.exposure.source,
        version=served.exposure.release_id[:12],
        exposure_id=served.exposure.exposure_id,
    )


def list_answer(
    scope: Scope, served: Recommended, *, explain: bool = False, unknown: list[str] | None = None
) -> Response:
    """The response of a list, and what is logged of it."""
    set_log_fields(scope, served)
    answer = list_json(served, explain=explain, unknown=unknown)
    answer.headers["server-timing"] = server_timing(served.milliseconds)
    return answer


@router.get(
    USER_LISTS.removeprefix(router.prefix),
    response_model=None,
    responses={200: {"model": ListResponse}, **documented(503)},
    summary="Recommendations for a user",
)
async def user_recommendations(
    request: Request, user_id: UserId, query: Annotated[ListQuery, Query()]
) -> Response:
    """An unknown user gets popular items; ``source`` says so. ``Server-Timing`` tells where time went.
    Excluded items that the release does not know are named in ``unknown_items``."""
    return await _list_for(request, user_id, query)


@router.get(
    "/recommendations",
    response_model=None,
    responses={200: {"model": ListResponse}, **documented(503)},
    summary="Recommendations for a user, whatever the id looks like",
)
async def recommendations(request: Request, query: Annotated[UserListQuery, Query()]) -> Response:
    """The same with the id in the query string, for ids that a path cannot carry through every proxy."""
    return await _list_for(request, query.user_id, query)


async def _list_for(request: Request, user_id: str, query: ListQuery) -> Response:
    wanted = RecommendationRequest(**{**dict(query), "user_id": user_id, "split": True})
    served = await service_of(request).lists.recommend(wanted)
    unknown = unknown_items(served, excluded_ids(served.loaded, wanted)) if query.exclude else []
    return list_answer(request.scope, served, explain=query.explain, unknown=unknown)


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
    served = await service.lists.recommend(_recommendation_request(service, body))
    set_log_fields(request.scope, served)
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
        service.lists.validate(one)
    call = BatchCall()
    served = await asyncio.gather(*(service.lists.recommend(request, batch=call) for request in wanted))
    answers = [
        list_response(given, explain=one.explain, unknown=_unknown_items(given, one))
        for given, one in zip(served, body.requests, strict=True)
    ]
    return JsonResponse({"answers": answers})


@router.get(
    "/users/{user_id:any}/predictions",
    response_model=None,
    responses={200: {"model": PredictionsResponse}, **documented(404, 409, 503)},
    summary="Predicted ratings of given items",
)
async def predictions(
    request: Request, user_id: UserId, query: Annotated[PredictionsQuery, Query()]
) -> Response:
    """In stars, by the user's arm; ``interval`` holds the rating with a chance of 80%. Items that were added
    after the release was made have the mean that their features suggest, and the range of usual ratings; 409
    where the release has learned nothing of features."""
    return await _predictions_for(request, user_id, query)


@router.get(
    "/predictions",
    response_model=None,
    responses={200: {"model": PredictionsResponse}, **documented(404, 409, 503)},
    summary="Predicted ratings, whatever the user's id looks like",
)
async def predictions_by_query(request: Request, query: Annotated[UserPredictionsQuery, Query()]) -> Response:
    """The same with the id in the query string."""
    return await _predictions_for(request, query.user_id, query)


async def _predictions_for(request: Request, user_id: str, query: PredictionsQuery) -> Response:
    service = service_of(request)
    try:
        predicted = await predict(
            service.computation,
            service.deployment,
            service.recent_ratings,
            user_id=user_id,
            values=query.items,
        )
    except KeyError as error:
        raise HttpError(404, f"unknown items: {', '.join(error.args[0][:10])}", code="unknown_item") from None
    version = predicted.release_id
    request.scope["log_fields"].update(user_id=user_id, arm=predicted.arm, version=version[:12])
    rows: list[JsonObject] = [
        {
            "id": item,
            "predicted_rating": round(value, 4),
            "interval": None if ends is None else [round(end, 4) for end in ends],
        }
        for item, value, ends in zip(predicted.item_ids, predicted.stars, predicted.intervals, strict=True)
    ]
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
    ratings = {given.item_id: given.rating for given in body.ratings}
    return RecommendationRequest(**{**dict(body), "ratings": ratings})


def unknown_items(served: Recommended, item_ids: Iterable[str]) -> list[str]:
    """Those that the release which answered does not know, each once; an added item is known."""
    view = served.loaded.view
    return [item for item in dict.fromkeys(item_ids) if view.place(item) is None]


def _unknown_items(served: Recommended, body: SessionBody) -> list[str]:
    return unknown_items(served, [*(given.item_id for given in body.ratings), *body.exclude])
