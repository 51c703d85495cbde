"""The experiment, read and changed at run time: audited, by compare-and-set, with the admin token."""

from __future__ import annotations

import asyncio
import hmac
import os
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Security
from fastapi.security import HTTPBearer
from starlette.responses import Response

from serving.api.answers import Json
from serving.api.errors import ApiError, documented
from serving.api.gate import bearer
from serving.api.lists import service_of
from serving.api.schemas import ArmName, ExperimentBody
from serving.engine.service import STORE_ERRORS, Service
from serving.records import ArmSpec, ExperimentState
from serving.registry import pinned

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
ADMIN_TOKEN = "RECSYS_ADMIN_TOKEN"
Name = Annotated[ArmName, Path(examples=["main"])]


def require_admin(request: Request, _: Any = Security(HTTPBearer(auto_error=False))) -> None:
    """For routes that change something for everybody."""
    token = os.environ.get(ADMIN_TOKEN, "")
    if not token:
        raise ApiError(
            403, f"this service was started without {ADMIN_TOKEN}: nothing can be changed over HTTP"
        )
    if not hmac.compare_digest(bearer(dict(request.scope["headers"])), token.encode()):
        raise ApiError(403, "give the admin token as `Authorization: Bearer ...`")


@router.get("/{name}", response_model=None, responses=documented(404), summary="The state of an experiment")
async def read(request: Request, name: Name) -> Response:
    """What this replica serves now: arms, shares, who is where."""
    return Json(asdict(_state(service_of(request), name)))


@router.get(
    "/{name}/history", response_model=None, responses=documented(404, 503), summary="Its earlier states"
)
async def history(request: Request, name: Name) -> Response:
    """Newest first; at most 100."""
    service = service_of(request)
    _state(service, name)
    try:
        states = await asyncio.to_thread(service.store.experiment_history, name)
    except STORE_ERRORS:
        raise ApiError(503, "the event store cannot be read at the moment") from None
    return Json({"revisions": [asdict(state) for state in states]})


@router.put(
    "/{name}",
    response_model=None,
    responses=documented(400, 403, 404, 409, 503),
    dependencies=[Depends(require_admin)],
    summary="Change arms, releases or shares",
)
async def change(request: Request, name: Name, body: ExperimentBody) -> Response:
    """A release is opened and checked before anything changes; requests go on being answered by the state
    before. The other replicas follow within a second (or once they have opened the release)."""
    service = service_of(request)
    now = _state(service, name)
    if now.owner == "rollout" and not body.take_over and body.owner == "manual":
        raise ApiError(409, "a roll-out owns this experiment; end it, or say take_over")
    try:
        state = await asyncio.to_thread(_wanted, now, body)
        saved = await asyncio.to_thread(
            service.change, state, expected=body.revision, actor=body.actor, reason=body.reason
        )
    except STORE_ERRORS:
        raise ApiError(503, "the event store cannot be written at the moment") from None
    return Json(asdict(saved))


def _state(service: Service, name: str) -> ExperimentState:
    state = service.deployment.state
    if name != state.name:
        raise ApiError(404, f"there is no experiment {name!r}; there is {state.name!r}")
    return state


def _wanted(now: ExperimentState, body: ExperimentBody) -> ExperimentState:
    return ExperimentState(
        name=now.name,
        revision=body.revision,
        salt=now.salt if body.salt is None else body.salt,
        arms=tuple(ArmSpec(arm.name, pinned(arm.release), arm.share, arm.shadow) for arm in body.arms),
        owner=body.owner,
        holdout=body.holdout,
        overrides=dict(body.overrides),
    )
