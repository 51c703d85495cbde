"""Routes of recommendations: for a user, for a session, in batches; and predicted ratings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from starlette.types import Scope

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.dependencies import service_of
from serving.api.http_errors import HttpError, answers
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


def set_log_fields(scope: Scope, served: Recommended) -> None:
    """Set what metrics, the access log and traces record of a list."""
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
    """The response of a list; sets its log fields."""
    set_log_fields(scope, served)
    answer = list_json(served, explain=explain, unknown=unknown)
    answer.headers["server-timing"] = server_timing(served.milliseconds)
    return answer


@router.get(
    USER_LISTS.removeprefix(router.prefix),
    **answers(ListResponse, 503),
    summary="Recommendations for a user",
)
async def user_recommendations(
    request: Request, user_id: UserId, query: Annotated[ListQuery, Query()]
) -> Response:
    """A list of items, best first. Unknown users get popular items (``source`` is ``popular``). Excluded
    items that the release does not have are named in ``unknown_items``; the ``Server-Timing`` header has the
    milliseconds of each stage."""
    return await _list_for(request, user_id, query)


@router.get(
    "/recommendations",
    **answers(ListResponse, 503),
    summary="Recommendations for a user, with the id in the query string",
)
async def recommendations(request: Request, query: Annotated[UserListQuery, Query()]) -> Response:
    """As ``/v1/users/{user_id}/recommendations``, for ids that some proxies do not pass in a path."""
    return await _list_for(request, query.user_id, query)


async def _list_for(request: Request, user_id: str, query: ListQuery) -> Response:
    list_request = RecommendationRequest(**{**dict(query), "user_id": user_id, "split": True})
    served = await service_of(request).lists.recommend(list_request)
    unknown = unknown_items(served, excluded_ids(served.loaded, list_request)) if query.exclude else []
    return list_answer(request.scope, served, explain=query.explain, unknown=unknown)


@router.post(
    "/recommendations",
    **answers(ListResponse, 400, 503),
    summary="Recommendations for a session or a new user",
)
async def session_recommendations(request: Request, body: SessionBody) -> Response:
    """The body's ratings are folded in for this request; they are neither stored nor used for training. Items
    that the release does not have are ignored and named in ``unknown_items``."""
    service = service_of(request)
    served = await service.lists.recommend(_recommendation_request(service, body))
    set_log_fields(request.scope, served)
    timing = {"server-timing": server_timing(served.milliseconds)}
    return JsonResponse(
        list_response(served, explain=body.explain, unknown=_unknown_items(served, body)), headers=timing
    )


@router.post(
    "/recommendations/batch",
    **answers(BatchResponse, 400, 503),
    summary="Many lists in one call",
)
async def many_recommendations(request: Request, body: BatchBody) -> Response:
    """Lists in the order of the requests, each in its user's arm and with an exposure of its own. The
    deadline of a list starts with its computation; single requests have priority."""
    service = service_of(request)
    list_requests = [_recommendation_request(service, session) for session in body.requests]
    for list_request in list_requests:  # one bad request refuses the call before any exposure is stored
        service.lists.validate(list_request)
    call = BatchCall()
    served = await asyncio.gather(
        *(service.lists.recommend(list_request, batch=call) for list_request in list_requests)
    )
    answers = [
        list_response(served_list, explain=session.explain, unknown=_unknown_items(served_list, session))
        for served_list, session in zip(served, body.requests, strict=True)
    ]
    return JsonResponse({"answers": answers})


@router.get(
    "/users/{user_id:any}/predictions",
    **answers(PredictionsResponse, 404, 409, 503),
    summary="Predicted ratings of items",
)
async def predictions(
    request: Request, user_id: UserId, query: Annotated[PredictionsQuery, Query()]
) -> Response:
    """Predictions in stars by the user's arm; ``interval`` is an 80% prediction interval. Items added after
    the release was made are predicted from their features; 409 where the release has no model of features."""
    return await _predictions_for(request, user_id, query)


@router.get(
    "/predictions",
    **answers(PredictionsResponse, 404, 409, 503),
    summary="Predicted ratings, with the user's id in the query string",
)
async def predictions_by_query(request: Request, query: Annotated[UserPredictionsQuery, Query()]) -> Response:
    """As ``/v1/users/{user_id}/predictions``, for ids that some proxies do not pass in a path."""
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
    for row in body.ratings:
        if not low <= row.rating <= high:
            raise InputError(
                f"item {row.item_id}: a rating lies between {low:g} and {high:g}, got {row.rating:g}"
            )
    ratings = {row.item_id: row.rating for row in body.ratings}
    return RecommendationRequest(**{**dict(body), "ratings": ratings})


def unknown_items(served: Recommended, item_ids: Iterable[str]) -> list[str]:
    """The distinct ids of ``item_ids`` that neither the release nor the catalogue has."""
    view = served.loaded.view
    return [item for item in dict.fromkeys(item_ids) if view.row(item) is None]


def _unknown_items(served: Recommended, body: SessionBody) -> list[str]:
    return unknown_items(served, [*(row.item_id for row in body.ratings), *body.exclude])
