"""Items, added, changed and hidden at run time: audited, with the admin token, in every replica at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from recsys.errors import InputError
from serving.api.experiments import require_admin
from serving.api.http_errors import HttpError, documented
from serving.api.id_paths import register_any_id
from serving.api.item_schemas import (
    BulkItemsBody,
    BulkResponse,
    ChangedItem,
    ItemBody,
    ItemChangeQuery,
    ItemDetails,
    ItemHistory,
)
from serving.api.recommendations import service_of
from serving.api.responses import JsonResponse
from serving.api.schemas import Id, ItemQuery
from serving.catalogue.item_records import CatalogueItem
from serving.engine.item_view import ItemView
from serving.engine.service import STORE_ERRORS, Service
from serving.events.item_log import ItemChange, item_history, save_items

register_any_id()
router = APIRouter(prefix="/v1", tags=["catalogue"])
ItemId = Annotated[Id, Path(examples=["1"])]
ADMIN = [Depends(require_admin)]


@router.post(
    "/items",
    response_model=None,
    responses={**documented(403, 404, 409, 503), 200: {"model": BulkResponse}},
    dependencies=ADMIN,
    summary="Add or change many items",
)
async def change_many(request: Request, body: BulkItemsBody) -> Response:
    """All or none. Each row changes only what it names; an item that nobody knows needs a title."""
    service = service_of(request)
    changes = [ItemChange(item.id, item.changed_fields()) for item in body.items]
    saved = await _save(service, changes, actor=body.actor, reason=body.reason)
    return JsonResponse({"items": len(saved), "revisions": {item.item_id: item.revision for item in saved}})


@router.get(
    "/items/{item_id:any}/history",
    response_model=None,
    responses={**documented(403, 503), 200: {"model": ItemHistory}},
    dependencies=ADMIN,
    summary="The changes of an item",
)
async def history(request: Request, item_id: ItemId) -> Response:
    """Newest first, at most 100: when, by whom and why, and what was set of it before and after."""
    try:
        changes = await asyncio.to_thread(item_history, service_of(request).store, item_id)
    except STORE_ERRORS:
        raise HttpError(503, "the event store cannot be read at the moment") from None
    return JsonResponse({"id": item_id, "changes": changes})


@router.get(
    "/items/{item_id:any}",
    response_model=None,
    responses={**documented(404), 200: {"model": ItemDetails}},
    summary="One item",
)
async def read(request: Request, item_id: ItemId) -> Response:
    """Its title, genres, features and when it is available. A hidden item is not found."""
    return _details(request, item_id)


@router.get(
    "/item",
    response_model=None,
    responses={**documented(404), 200: {"model": ItemDetails}},
    summary="One item, whatever its id looks like",
)
async def read_by_query(request: Request, query: Annotated[ItemQuery, Query()]) -> Response:
    """The same with the id in the query string, also for one that ends in ``/history`` or ``/similar``."""
    return _details(request, query.item_id)


def _details(request: Request, item_id: str) -> Response:
    deployment = service_of(request).deployment
    view = deployment.control.view
    place = view.place(item_id)
    if place is None or view.is_hidden(place):
        raise HttpError(404, f"there is no item {item_id!r}", code="unknown_item")
    return JsonResponse(deployment.control.details(place, explores=deployment.explores))


@router.put(
    "/items/{item_id:any}",
    response_model=None,
    responses={**documented(400, 403, 409, 503), 200: {"model": ChangedItem}},
    dependencies=ADMIN,
    summary="Add an item, or set all of it",
)
async def put(request: Request, item_id: ItemId, body: ItemBody) -> Response:
    """What the body does not name goes back to what the release says. The other replicas follow within a
    second; a new release keeps what was set here."""
    change = ItemChange(item_id, body.changed_fields(), whole=True, expected=body.revision)
    return await _changed(request, change, body.actor, body.reason)


@router.patch(
    "/items/{item_id:any}",
    response_model=None,
    responses={**documented(400, 403, 404, 409, 503), 200: {"model": ChangedItem}},
    dependencies=ADMIN,
    summary="Change some of an item",
)
async def patch(request: Request, item_id: ItemId, body: ItemBody) -> Response:
    """Only what the body names changes."""
    _require_known(_views(service_of(request)), item_id)
    change = ItemChange(item_id, body.changed_fields(), expected=body.revision)
    return await _changed(request, change, body.actor, body.reason)


@router.delete(
    "/items/{item_id:any}",
    response_model=None,
    responses={**documented(403, 404, 409, 503), 200: {"model": ChangedItem}},
    dependencies=ADMIN,
    summary="Hide an item",
)
async def hide(request: Request, item_id: ItemId, query: Annotated[ItemChangeQuery, Query()]) -> Response:
    """At once, in every list. ``PATCH`` with ``hidden: false``, or ``PUT``, brings it back."""
    _require_known(_views(service_of(request)), item_id)
    return await _changed(request, ItemChange(item_id, {"hidden": True}), query.actor, query.reason)


async def _changed(request: Request, change: ItemChange, actor: str, reason: str) -> Response:
    service = service_of(request)
    await _save(service, [change], actor=actor, reason=reason)
    deployment = service.deployment
    control = deployment.control
    place = control.view.place(change.item_id)
    assert place is not None, "an item that was just stored"
    details = control.details(place, explores=deployment.explores)
    return JsonResponse({**details, "hidden": control.view.is_hidden(place)})


async def _save(
    service: Service, changes: Sequence[ItemChange], *, actor: str, reason: str
) -> list[CatalogueItem]:
    """Stored and served by this replica when it returns."""
    views = _views(service)
    for change in changes:
        for loaded in service.deployment.arms.values():
            loaded.unreleased.check(change.item_id, change.fields.get("features") or {})
        if not change.fields.get("title") and not _is_known(views, change.item_id):
            raise InputError(f"item {change.item_id!r} is in no release that is served: it needs a title")
    try:
        saved = await asyncio.to_thread(save_items, service.store, changes, actor=actor, reason=reason)
        await asyncio.to_thread(service.refresh_catalogue)
    except STORE_ERRORS:
        raise HttpError(503, "the event store cannot be written at the moment") from None
    return saved


def _views(service: Service) -> list[ItemView]:
    return [loaded.view for loaded in service.deployment.arms.values()]


def _is_known(views: Sequence[ItemView], item_id: str) -> bool:
    return any(view.place(item_id) is not None for view in views)


def _require_known(views: Sequence[ItemView], item_id: str) -> None:
    if not _is_known(views, item_id):
        raise HttpError(404, f"there is no item {item_id!r}; PUT adds one", code="unknown_item")
