"""Routes of items: similar items, popular items, pages of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from recsys.release.queries import Recommendation
from serving.api.dependencies import service_of
from serving.api.http_errors import HttpError, answers
from serving.api.id_paths import register_any_id
from serving.api.item_schemas import ItemPage, ItemPageQuery
from serving.api.response_schemas import ItemsResponse
from serving.api.responses import JsonResponse
from serving.api.schemas import CountQuery, Id, PopularQuery, SimilarQuery
from serving.engine import catalogue_answers
from serving.engine.item_pages import PageRequest, item_page
from serving.engine.release_loader import Deployment

register_any_id()
router = APIRouter(prefix="/v1", tags=["items"])


@router.get(
    "/items/{item_id:any}/similar",
    **answers(ItemsResponse, 404, 409, 503),
    summary="Similar items",
)
async def similar(
    request: Request, item_id: Annotated[Id, Path(examples=["1"])], query: Annotated[CountQuery, Query()]
) -> Response:
    """Items rated by the same users, nearest first, without hidden ones. For an item added after the release
    was made its features stand in; 409 where the release has no model of features."""
    return await _similar_to(request, item_id, query)


@router.get(
    "/similar",
    **answers(ItemsResponse, 404, 409, 503),
    summary="Similar items, with the id in the query string",
)
async def similar_by_query(request: Request, query: Annotated[SimilarQuery, Query()]) -> Response:
    """As ``/v1/items/{item_id}/similar``, for ids that some proxies do not pass in a path."""
    return await _similar_to(request, query.item_id, query)


async def _similar_to(request: Request, item_id: str, query: CountQuery) -> Response:
    service = service_of(request)
    deployment = service.deployment
    index = deployment.control.view.row(item_id)
    if index is None or deployment.control.view.is_hidden(index):
        raise HttpError(404, f"there is no item {item_id!r}", code="unknown_item")
    answer = await catalogue_answers.similar(
        service.computation, deployment.control, item_id=item_id, count=query.count, where=query.where
    )
    return _items_response(request, deployment, answer)


def _items_response(request: Request, deployment: Deployment, answer: Iterable[Recommendation]) -> Response:
    """Items of the first arm's release."""
    arm = deployment.state.arms[0].name
    request.scope["log_fields"].update(arm=arm)
    items = deployment.control.listed(answer)
    return JsonResponse({"arm": arm, "model_version": deployment.control.release_id, "items": items})


@router.get(
    "/popular",
    **answers(ItemsResponse, 503),
    summary="Popular items",
)
async def popular(request: Request, query: Annotated[PopularQuery, Query()]) -> Response:
    """The most popular items, overall or of a genre, updated with incoming ratings; ``trending`` weights
    recent ratings more."""
    service = service_of(request)
    deployment = service.deployment
    answer = await catalogue_answers.popular(
        service.computation,
        deployment.control,
        count=query.count,
        genre=query.genre or None,
        trending=query.trending,
        where=query.where,
        live=service.popularity,
    )
    return _items_response(request, deployment, answer)


@router.get(
    "/items",
    **answers(ItemPage, 503),
    summary="Search items by title or filter, in pages",
)
async def pages(request: Request, query: Annotated[ItemPageQuery, Query()]) -> Response:
    """Available items in the order of their ids; with ``title`` those whose title contains the text, most
    rated first. ``next`` is the ``cursor`` of the next page."""
    service = service_of(request)
    page = PageRequest(**query.model_dump(), explores=service.deployment.explores)
    return JsonResponse(await service.computation.call(item_page, service.deployment.control, page))
