"""The experiment, read and changed at run time: audited, by compare-and-set, with the admin token."""

from __future__ import annotations

import asyncio
import hmac
import os
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Security
from fastapi.security import HTTPBearer
from starlette.responses import Response

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.http_errors import HttpError, documented
from serving.api.middleware import request_key
from serving.api.recommendations import service_of
from serving.api.response_schemas import ExperimentResponse, HistoryResponse
from serving.api.responses import JsonResponse
from serving.api.schemas import ArmName, ExperimentBody, ExperimentChange, ExperimentPatch
from serving.domain import ExperimentState
from serving.engine.service import STORE_ERRORS, Service
from serving.events.audit import changed_fields, shares_in
from serving.events.rows import JournalEntry
from serving.release_registry import pinned

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
ADMIN_TOKEN = "RECSYS_ADMIN_TOKEN"
Name = Annotated[ArmName, Path(examples=["main"])]


def require_admin(request: Request, _: Any = Security(HTTPBearer(auto_error=False))) -> None:
    """For routes that change something for everybody."""
    token = os.environ.get(ADMIN_TOKEN, "")
    if not token:
        raise HttpError(
            403, f"this service was started without {ADMIN_TOKEN}: nothing can be changed over HTTP"
        )
    if not hmac.compare_digest(request_key(dict(request.scope["headers"])), token.encode()):
        raise HttpError(403, "give the admin token as `Authorization: Bearer ...`")


@router.get(
    "/{name}",
    response_model=None,
    responses={**documented(404), 200: {"model": ExperimentResponse}},
    summary="The state of an experiment",
)
async def read(request: Request, name: Name) -> Response:
    """What this replica serves now: arms, shares, who is where."""
    return JsonResponse(asdict(_current_state(service_of(request), name)))


@router.get(
    "/{name}/history",
    response_model=None,
    responses={**documented(404, 503), 200: {"model": HistoryResponse}},
    summary="Its earlier states",
)
async def history(request: Request, name: Name) -> Response:
    """Newest first; at most 100. ``changes`` says for each revision when it was made, by whom and why, and
    the shares before and after."""
    service = service_of(request)
    _current_state(service, name)
    try:
        states = await asyncio.to_thread(service.store.experiment_history, name)
        audits = await asyncio.to_thread(lambda: list(service.store.journal(kind="audit", subject=name)))
    except STORE_ERRORS:
        raise HttpError(503, "the event store cannot be read at the moment") from None
    return JsonResponse({"revisions": [asdict(state) for state in states], "changes": _changes(audits)})


def _changes(audits: list[JournalEntry]) -> list[JsonObject]:
    """The audit's entries, newest first, with shares and what else changed in place of whole states."""
    rows = []
    for entry in sorted(audits, key=lambda entry: -entry.seq)[:100]:
        before, after = entry.data.get("before"), entry.data.get("after")
        rows.append(
            {
                "at": entry.at,
                "actor": entry.data.get("actor", ""),
                "reason": entry.data.get("reason", ""),
                "revision": None if after is None else after["revision"],
                "before": shares_in(before),
                "after": shares_in(after),
                "changed": changed_fields(before, after),
                "metrics": None if after is None else after.get("metrics"),
            }
        )
    return rows


@router.put(
    "/{name}",
    response_model=None,
    responses={**documented(400, 403, 404, 409, 503), 200: {"model": ExperimentResponse}},
    dependencies=[Depends(require_admin)],
    summary="Change arms, releases or shares",
)
async def change(request: Request, name: Name, body: ExperimentBody) -> Response:
    """Replaces the whole state: what the body does not name is gone, and ``removed`` in the answer says what
    that was (PATCH changes shares alone). A release is opened and checked before anything changes; requests
    go on being answered by the state before. The other replicas follow within a second (or once they have
    opened the release)."""
    service = service_of(request)
    now = _current_state(service, name)
    state = await asyncio.to_thread(_requested_state, now, body)
    saved = await _save(service, now, state, body)
    return JsonResponse(_answered(saved, body) | {"removed": _removed(now, saved)})


@router.patch(
    "/{name}",
    response_model=None,
    responses={**documented(400, 403, 404, 409, 503), 200: {"model": ExperimentResponse}},
    dependencies=[Depends(require_admin)],
    summary="Change shares, holdout or testers, and keep the rest",
)
async def patch(request: Request, name: Name, body: ExperimentPatch) -> Response:
    """Only what the body names changes: arms, releases, salt, holdout and overrides stay as they are."""
    service = service_of(request)
    now = _current_state(service, name)
    strangers = sorted(set(body.shares) - {arm.name for arm in now.arms})
    if strangers:
        raise InputError(f"shares name arms that are not there: {strangers}; there are {arms_of(now)}")
    state = replace(
        now,
        revision=body.revision,
        owner=body.owner,
        arms=tuple(replace(arm, share=body.shares.get(arm.name, arm.share)) for arm in now.arms),
        holdout=now.holdout if body.holdout is None else body.holdout,
        overrides=now.overrides if body.overrides is None else dict(body.overrides),
        metrics=now.metrics if body.metrics is None else body.metrics,
    )
    return JsonResponse(_answered(await _save(service, now, state, body), body))


async def _save(
    service: Service, now: ExperimentState, state: ExperimentState, body: ExperimentChange
) -> ExperimentState:
    if now.owner == "rollout" and not body.take_over and body.owner == "manual":
        raise HttpError(409, "a roll-out owns this experiment; end it, or say take_over")
    try:
        return await asyncio.to_thread(
            service.change, state, expected=body.revision, actor=body.actor, reason=body.reason
        )
    except STORE_ERRORS:
        raise HttpError(503, "the event store cannot be written at the moment") from None


def _answered(saved: ExperimentState, body: ExperimentChange) -> JsonObject:
    """What is served from now on, with a ``note`` where the body made no new revision of it."""
    if saved.revision > body.revision:
        return asdict(saved)
    return asdict(saved) | {"note": f"nothing changed: revision {saved.revision} is already like that"}


def arms_of(state: ExperimentState) -> list[str]:
    """The names of its arms."""
    return [arm.name for arm in state.arms]


def _removed(before: ExperimentState, after: ExperimentState) -> JsonObject:
    """What a replaced state had that the new one has not, {} where nothing is lost."""
    gone: JsonObject = {}
    if before.kind != after.kind:
        gone["kind"] = before.kind
    if before.metrics is not None and after.metrics is None:
        gone["metrics"] = before.metrics
    if before.holdout and not after.holdout:
        gone["holdout"] = before.holdout
    overrides = {user: arm for user, arm in before.overrides.items() if user not in after.overrides}
    if overrides:
        gone["overrides"] = overrides
    arms = sorted(set(arms_of(before)) - set(arms_of(after)))
    if arms:
        gone["arms"] = arms
    return gone


def _current_state(service: Service, name: str) -> ExperimentState:
    state = service.deployment.state
    if name != state.name:
        raise HttpError(404, f"there is no experiment {name!r}; there is {state.name!r}")
    return state


def _requested_state(now: ExperimentState, body: ExperimentBody) -> ExperimentState:
    return ExperimentState(
        name=now.name,
        revision=body.revision,
        salt=now.salt if body.salt is None else body.salt,
        arms=tuple(replace(arm, release=pinned(arm.release)) for arm in body.arms),
        owner=body.owner,
        holdout=body.holdout,
        overrides=dict(body.overrides),
        kind=body.kind,
        metrics=body.metrics,
    )
