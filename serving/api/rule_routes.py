"""Rules on lists, read and changed at run time like shares: revisions, compare-and-set, the admin token."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from recsys.types import JsonObject
from serving.api.experiments import require_admin
from serving.api.http_errors import HttpError, documented
from serving.api.item_schemas import Actor, Reason
from serving.api.recommendations import service_of
from serving.api.responses import JsonResponse
from serving.api.schemas import Id, RequestModel, Revision
from serving.catalogue.rule_set import RuleSet, rules_from, rules_json
from serving.domain import Number, Share
from serving.engine.service import STORE_ERRORS, Service
from serving.events.rule_log import RuleRevision, rules_history

router = APIRouter(prefix="/v1/rules", tags=["rules"])
MAX_RULES = 10_000
Boost = Annotated[Number, Field(ge=-100, le=100)]


class RuleBody(RequestModel):
    """The whole of the rules: what is not named is off. 409 if ``revision`` is no longer the newest."""

    revision: Revision
    hidden: list[Id] = Field(default_factory=list, max_length=MAX_RULES)
    boosts: dict[Id, Boost] = Field(default_factory=dict, max_length=MAX_RULES)
    diversity: Share = 0.0
    actor: Actor = "admin"
    reason: Reason = ""


class RulePatch(RequestModel):
    """``hide`` and ``show`` items, set ``boosts`` (null takes one out) and ``diversity``; the rest stays."""

    revision: Revision
    hide: list[Id] = Field(default_factory=list, max_length=MAX_RULES)
    show: list[Id] = Field(default_factory=list, max_length=MAX_RULES)
    boosts: dict[Id, Boost | None] = Field(default_factory=dict, max_length=MAX_RULES)
    diversity: Share | None = None
    actor: Actor = "admin"
    reason: Reason = ""


class RuleResponse(BaseModel):
    """``unknown_items`` are named by a rule and known to nobody here: a later release may have them; ``note``
    says where a change changed nothing."""

    revision: int
    hidden: list[str]
    boosts: dict[str, float]
    diversity: float
    unknown_items: list[str]
    note: str | None = None


class RuleChange(BaseModel):
    revision: int
    at: float
    actor: str
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


class RuleHistory(BaseModel):
    changes: list[RuleChange]


@router.get(
    "",
    response_model=None,
    responses={**documented(), 200: {"model": RuleResponse}},
    summary="The rules on lists",
)
async def read(request: Request) -> Response:
    """What this replica obeys now: hidden items, boosts, diversity."""
    return JsonResponse(_shown(service_of(request)))


@router.get(
    "/history",
    response_model=None,
    responses={**documented(503), 200: {"model": RuleHistory}},
    summary="Their changes",
)
async def history(request: Request) -> Response:
    """Newest first, at most 100: when, by whom and why, the rules before and after."""
    service = service_of(request)
    settings = service.settings.rules
    try:
        changes = await asyncio.to_thread(rules_history, service.store, settings)
    except STORE_ERRORS:
        raise HttpError(503, "the event store cannot be read at the moment") from None
    return JsonResponse({"changes": changes})


@router.put(
    "",
    response_model=None,
    responses={**documented(400, 403, 409, 503), 200: {"model": RuleResponse}},
    dependencies=[Depends(require_admin)],
    summary="Set all rules",
)
async def change(request: Request, body: RuleBody) -> Response:
    """The other replicas follow within a second; no list of before is given any more."""
    return await _save(
        service_of(request), RuleSet(frozenset(body.hidden), body.boosts, body.diversity), body
    )


@router.patch(
    "",
    response_model=None,
    responses={**documented(400, 403, 409, 503), 200: {"model": RuleResponse}},
    dependencies=[Depends(require_admin)],
    summary="Change some rules",
)
async def patch(request: Request, body: RulePatch) -> Response:
    """Only what the body names changes."""
    service = service_of(request)
    now = rules_json(service.catalogue.rules.rules)
    boosts = {**now["boosts"], **body.boosts}
    changed = {
        "hidden": sorted(({*now["hidden"]} | {*body.hide}) - {*body.show}),
        "boosts": {item: boost for item, boost in boosts.items() if boost is not None},
        "diversity": now["diversity"] if body.diversity is None else body.diversity,
    }
    return await _save(service, rules_from({**now, **changed}), body)


async def _save(service: Service, rules: RuleSet, body: RuleBody | RulePatch) -> Response:
    try:
        await asyncio.to_thread(
            service.change_rules, rules, expected=body.revision, actor=body.actor, reason=body.reason
        )
    except STORE_ERRORS:
        raise HttpError(503, "the event store cannot be written at the moment") from None
    shown = _shown(service)
    if shown["revision"] == body.revision:
        shown["note"] = f"nothing changed: revision {body.revision} is already like that"
    return JsonResponse(shown)


def _shown(service: Service) -> JsonObject:
    now: RuleRevision = service.catalogue.rules
    views = [loaded.view for loaded in service.deployment.arms.values()]
    named = sorted(now.rules.hidden | now.rules.boosts.keys())
    unknown = [item for item in named if all(view.place(item) is None for view in views)]
    return {"revision": now.revision, **rules_json(now.rules), "unknown_items": unknown}
