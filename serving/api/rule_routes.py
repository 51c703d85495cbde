"""Routes of the rules on lists: read and changed at run time by compare-and-set, with the admin token."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from recsys.types import JsonObject
from serving.api.dependencies import ADMIN, call_store, service_of
from serving.api.http_errors import answers
from serving.api.item_schemas import Actor, Reason
from serving.api.responses import JsonResponse
from serving.api.schemas import Id, RequestModel, Revision
from serving.catalogue.rule_set import RuleSet, rules_from, rules_json
from serving.domain import Number, Share
from serving.engine.service import Service
from serving.events.rule_log import RuleRevision, rules_history

router = APIRouter(prefix="/v1/rules", tags=["rules"])
MAX_RULES = 10_000
Boost = Annotated[Number, Field(ge=-100, le=100)]


class RuleBody(RequestModel):
    """A complete rule set: what is not named is off. 409 if ``revision`` is no longer the newest."""

    revision: Revision
    hidden: list[Id] = Field(default_factory=list, max_length=MAX_RULES)
    boosts: dict[Id, Boost] = Field(default_factory=dict, max_length=MAX_RULES)
    diversity: Share = 0.0
    actor: Actor = "admin"
    reason: Reason = ""


class RulePatch(RequestModel):
    """A change: items to ``hide`` or ``show``, ``boosts`` (null removes one), ``diversity``."""

    revision: Revision
    hide: list[Id] = Field(default_factory=list, max_length=MAX_RULES)
    show: list[Id] = Field(default_factory=list, max_length=MAX_RULES)
    boosts: dict[Id, Boost | None] = Field(default_factory=dict, max_length=MAX_RULES)
    diversity: Share | None = None
    actor: Actor = "admin"
    reason: Reason = ""


class RuleResponse(BaseModel):
    """The rules in force. ``unknown_items`` are ids in rules that no served release has yet; ``note`` says
    that a request changed nothing."""

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
    **answers(RuleResponse),
    summary="The rules on lists",
)
async def read(request: Request) -> Response:
    """The rules that this replica applies now: hidden items, boosts, diversity."""
    return JsonResponse(_rules_json(service_of(request)))


@router.get(
    "/history",
    **answers(RuleHistory, 503),
    summary="History of the rules",
)
async def history(request: Request) -> Response:
    """At most 100 changes, newest first: time, actor, reason, and the rules before and after."""
    service = service_of(request)
    settings = service.settings.rules
    return JsonResponse({"changes": await call_store("read", rules_history, service.store, settings)})


@router.put(
    "",
    **answers(RuleResponse, 400, 403, 409, 503),
    dependencies=ADMIN,
    summary="Replace the rules",
)
async def change(request: Request, body: RuleBody) -> Response:
    """Stored lists of the old rules are not used any more. Other replicas follow within a second."""
    return await _save(
        service_of(request), RuleSet(frozenset(body.hidden), body.boosts, body.diversity), body
    )


@router.patch(
    "",
    **answers(RuleResponse, 400, 403, 409, 503),
    dependencies=ADMIN,
    summary="Change some rules",
)
async def patch(request: Request, body: RulePatch) -> Response:
    """Only what the body names is changed."""
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
    await call_store(
        "written",
        service.change_rules,
        rules,
        expected=body.revision,
        actor=body.actor,
        reason=body.reason,
    )
    answer = _rules_json(service)
    if answer["revision"] == body.revision:
        answer["note"] = f"nothing changed: revision {body.revision} is already like that"
    return JsonResponse(answer)


def _rules_json(service: Service) -> JsonObject:
    now: RuleRevision = service.catalogue.rules
    views = [loaded.view for loaded in service.deployment.arms.values()]
    named = sorted(now.rules.hidden | now.rules.boosts.keys())
    unknown = [item for item in named if all(view.row(item) is None for view in views)]
    return {"revision": now.revision, **rules_json(now.rules), "unknown_items": unknown}
