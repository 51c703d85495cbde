"""What needs no person: items like one, popular items, titles to choose from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from serving.api.http_errors import HttpError, documented
from serving.api.id_paths import register_any_id
from serving.api.item_schemas import ItemPage, ItemPageQuery
from serving.api.recommendations import service_of
from serving.api.response_schemas import ItemsResponse
from serving.api.responses import JsonResponse
from serving.api.schemas import CountQuery, Id, PopularQuery, SimilarQuery
from serving.engine import catalogue_answers
from serving.engine.item_pages import PageRequest, item_page

register_any_id()
router = APIRouter(prefix="/v1", tags=["items"])


@router.get(
    "/items/{item_id:any}/similar",
    response_model=None,
    responses={200: {"model": ItemsResponse}, **documented(404, 409, 503)},
    summary="Items like this one",
)
async def similar(
    request: Request, item_id: Annotated[Id, Path(examples=["1"])], query: Annotated[CountQuery, Query()]
) -> Response:
    """By who rated them, the nearest first; hidden ones left out. Of an item that was added after the release
    was made, by whom its features suggest; 409 where the release has learned nothing of features."""
    return await _similar_to(request, item_id, query)


@router.get(
    "/similar",
    response_model=None,
    responses={200: {"model": ItemsResponse}, **documented(404, 409, 503)},
    summary="Items like this one, whatever its id looks like",
)
async def similar_by_query(request: Request, query: Annotated[SimilarQuery, Query()]) -> Response:
    """The same with the id in the query string."""
    return await _similar_to(request, query.item_id, query)


async def _similar_to(request: Request, item_id: str, query: CountQuery) -> Response:
    service = service_of(request)
    deployment = service.deployment
    place = deployment.control.view.place(item_id)
    if place is None or deployment.control.view.is_hidden(place):
        raise HttpError(404, f"there is no item {item_id!r}", code="unknown_item")
    found = await catalogue_answers.similar(
        service.computation, deployment.control, item_id=item_id, count=query.count, where=query.where
    )
    arm = deployment.state.arms[0].name
    request.scope["log_fields"].update(arm=arm)
    items = deployment.control.listed(found)
    return JsonResponse({"arm": arm, "model_version": deployment.control.release_id, "items": items})


@router.get(
    "/popular",
    response_model=None,
    responses={200: {"model": ItemsResponse}, **documented(503)},
    summary="Popular items",
)
async def popular(request: Request, query: Annotated[PopularQuery, Query()]) -> Response:
    """Overall or of a genre, moving with the ratings that come in; ``trending`` weighs recent ones more."""
    service = service_of(request)
    deployment = service.deployment
    found = await catalogue_answers.popular(
        service.computation,
        deployment.control,
        count=query.count,
        genre=query.genre or None,
        trending=query.trending,
        where=query.where,
        live=service.popularity,
    )
    arm = deployment.state.arms[0].name
    request.scope["log_fields"].update(arm=arm)
    items = deployment.control.listed(found)
    return JsonResponse({"arm": arm, "model_version": deployment.control.release_id, "items": items})


@router.get(
    "/items",
    response_model=None,
    responses={200: {"model": ItemPage}, **documented(503)},
    summary="Items by title or filter, in pages",
)
async def pages(request: Request, query: Annotated[ItemPageQuery, Query()]) -> Response:
    """All that can be listed now, in the order of their ids; with ``title`` those whose title holds the text,
    the most rated first. ``next`` is the ``cursor`` of the page that follows."""
    service = service_of(request)
    wanted = PageRequest(**query.model_dump(), explores=service.deployment.explores)
    return JsonResponse(await service.computation.call(item_page, service.deployment.control, wanted))
