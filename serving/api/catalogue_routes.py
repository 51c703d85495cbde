"""Routes of the run-time catalogue: items are added, changed and hidden, audited, with the admin token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from recsys.errors import InputError
from serving.api.dependencies import ADMIN, call_store, service_of
from serving.api.http_errors import HttpError, answers
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
from serving.api.responses import JsonResponse
from serving.api.schemas import Id, ItemQuery
from serving.catalogue.item_records import CatalogueItem
from serving.engine.item_view import ItemView
from serving.engine.service import Service
from serving.events.item_log import ItemChange, item_history, save_items

register_any_id()
router = APIRouter(prefix="/v1", tags=["catalogue"])
ItemId = Annotated[Id, Path(examples=["1"])]


@router.post(
    "/items",
    **answers(BulkResponse, 403, 404, 409, 503),
    dependencies=ADMIN,
    summary="Add or change many items",
)
async def change_many(request: Request, body: BulkItemsBody) -> Response:
    """All rows are stored, or none. A row changes only what it names; a new item needs a title."""
    service = service_of(request)
    changes = [ItemChange(item.id, item.changed_fields()) for item in body.items]
    saved = await _save(service, changes, actor=body.actor, reason=body.reason)
    return JsonResponse({"items": len(saved), "revisions": {item.item_id: item.revision for item in saved}})


@router.get(
    "/items/{item_id:any}/history",
    **answers(ItemHistory, 403, 503),
    dependencies=ADMIN,
    summary="History of an item",
)
async def history(request: Request, item_id: ItemId) -> Response:
    """At most 100 changes, newest first: time, actor, reason, and the fields set before and after."""
    changes = await call_store("read", item_history, service_of(request).store, item_id)
    return JsonResponse({"id": item_id, "changes": changes})


@router.get(
    "/items/{item_id:any}",
    **answers(ItemDetails, 404),
    summary="One item",
)
async def read(request: Request, item_id: ItemId) -> Response:
    """Title, genres, features and availability. A hidden item is answered with 404."""
    return _details(request, item_id)


@router.get(
    "/item",
    **answers(ItemDetails, 404),
    summary="One item, with its id in the query string",
)
async def read_by_query(request: Request, query: Annotated[ItemQuery, Query()]) -> Response:
    """As ``/v1/items/{item_id}``, also for ids that end in ``/history`` or ``/similar``."""
    return _details(request, query.item_id)


def _details(request: Request, item_id: str) -> Response:
    deployment = service_of(request).deployment
    view = deployment.control.view
    index = view.row(item_id)
    if index is None or view.is_hidden(index):
        raise HttpError(404, f"there is no item {item_id!r}", code="unknown_item")
    return JsonResponse(deployment.control.details(index, explores=deployment.explores))


@router.put(
    "/items/{item_id:any}",
    **answers(ChangedItem, 400, 403, 409, 503),
    dependencies=ADMIN,
    summary="Add or replace an item",
)
async def put(request: Request, item_id: ItemId, body: ItemBody) -> Response:
    """Fields that the body does not name are reset to the release's values. Other replicas follow within a
    second; a new release keeps the changes."""
    change = ItemChange(item_id, body.changed_fields(), reset=True, expected=body.revision)
    return await _changed(request, change, body.actor, body.reason)


@router.patch(
    "/items/{item_id:any}",
    **answers(ChangedItem, 400, 403, 404, 409, 503),
    dependencies=ADMIN,
    summary="Change fields of an item",
)
async def patch(request: Request, item_id: ItemId, body: ItemBody) -> Response:
    """Only fields that the body names are changed."""
    _require_item(_views(service_of(request)), item_id)
    change = ItemChange(item_id, body.changed_fields(), expected=body.revision)
    return await _changed(request, change, body.actor, body.reason)


@router.delete(
    "/items/{item_id:any}",
    **answers(ChangedItem, 403, 404, 409, 503),
    dependencies=ADMIN,
    summary="Hide an item",
)
async def hide(request: Request, item_id: ItemId, query: Annotated[ItemChangeQuery, Query()]) -> Response:
    """The item leaves every list at once. ``PATCH`` with ``hidden: false``, or ``PUT``, restores it."""
    _require_item(_views(service_of(request)), item_id)
    return await _changed(request, ItemChange(item_id, {"hidden": True}), query.actor, query.reason)


async def _changed(request: Request, change: ItemChange, actor: str, reason: str) -> Response:
    service = service_of(request)
    await _save(service, [change], actor=actor, reason=reason)
    deployment = service.deployment
    control = deployment.control
    index = control.view.row(change.item_id)
    assert index is not None, "an item that was just stored"
    details = control.details(index, explores=deployment.explores)
    return JsonResponse({**details, "hidden": control.view.is_hidden(index)})


async def _save(
    service: Service, changes: Sequence[ItemChange], *, actor: str, reason: str
) -> list[CatalogueItem]:
    """Store changes; this replica serves them when it returns."""
    views = _views(service)
    for change in changes:
        for loaded in service.deployment.arms.values():
            loaded.unreleased.check(change.item_id, change.fields.get("features") or {})
        if not change.fields.get("title") and not _has_item(views, change.item_id):
            raise InputError(f"item {change.item_id!r} is in no release that is served: it needs a title")
    saved = await call_store("written", save_items, service.store, changes, actor=actor, reason=reason)
    await call_store("written", service.refresh_catalogue)
    return saved


def _views(service: Service) -> list[ItemView]:
    return [loaded.view for loaded in service.deployment.arms.values()]


def _has_item(views: Sequence[ItemView], item_id: str) -> bool:
    return any(view.row(item_id) is not None for view in views)


def _require_item(views: Sequence[ItemView], item_id: str) -> None:
    if not _has_item(views, item_id):
        raise HttpError(404, f"there is no item {item_id!r}; PUT adds one", code="unknown_item")
