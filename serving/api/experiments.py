"""Routes of the experiment: read, and changed by audited compare-and-set with the admin token."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.dependencies import ADMIN, call_store, service_of
from serving.api.http_errors import HttpError, answers
from serving.api.response_schemas import ExperimentResponse, HistoryResponse
from serving.api.responses import JsonResponse
from serving.api.schemas import ArmName, ExperimentBody, ExperimentChange, ExperimentPatch
from serving.domain import ExperimentState
from serving.engine.service import Service
from serving.events.audit import changed_fields, newest, shares_in
from serving.events.rows import JournalEntry
from serving.release_registry import pinned

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
Name = Annotated[ArmName, Path(examples=["main"])]


@router.get(
    "/{name}",
    **answers(ExperimentResponse, 404),
    summary="State of an experiment",
)
async def read(request: Request, name: Name) -> Response:
    """The state that this replica serves now: arms, shares, and the hash slots of each arm."""
    return JsonResponse(asdict(_current_state(service_of(request), name)))


@router.get(
    "/{name}/history",
    **answers(HistoryResponse, 404, 503),
    summary="History of an experiment",
)
async def history(request: Request, name: Name) -> Response:
    """At most 100 revisions, newest first; ``changes`` has the time, actor, reason, and the shares before and
    after of each."""
    service = service_of(request)
    _current_state(service, name)
    states = await call_store("read", service.store.experiment_history, name)
    audits = await call_store("read", newest, service.store, ("audit",), subject=name, count=100)
    return JsonResponse({"revisions": [asdict(state) for state in states], "changes": _changes(audits)})


def _changes(audits: list[JournalEntry]) -> list[JsonObject]:
    """Audit entries with shares and other changed fields instead of complete states."""
    rows = []
    for entry in audits:
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
    **answers(ExperimentResponse, 400, 403, 404, 409, 503),
    dependencies=ADMIN,
    summary="Replace an experiment's state",
)
async def change(request: Request, name: Name, body: ExperimentBody) -> Response:
    """Replaces arms, releases, shares and the rest of the state: what the body does not name is removed, and
    listed in ``removed`` (PATCH changes shares alone). New releases are opened and verified first, while
    requests are answered by the old state. Other replicas follow within a second, or once they have opened
    the release."""
    service = service_of(request)
    now = _current_state(service, name)
    state = await asyncio.to_thread(_requested_state, now, body)
    saved = await _save(service, now, state, body)
    return JsonResponse(_answered(saved, body) | {"removed": _removed(now, saved)})


@router.patch(
    "/{name}",
    **answers(ExperimentResponse, 400, 403, 404, 409, 503),
    dependencies=ADMIN,
    summary="Change shares, holdout, metrics or testers",
)
async def patch(request: Request, name: Name, body: ExperimentPatch) -> Response:
    """Only what the body names is changed; arms, releases and salt stay."""
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
        raise HttpError(409, "a roll-out owns this experiment; end it, or set take_over")
    return await call_store(
        "written", service.change, state, expected=body.revision, actor=body.actor, reason=body.reason
    )


def _answered(saved: ExperimentState, body: ExperimentChange) -> JsonObject:
    """The state in service, with a ``note`` where the request changed nothing."""
    if saved.revision > body.revision:
        return asdict(saved)
    return asdict(saved) | {"note": f"nothing changed: revision {saved.revision} is already like that"}


def arms_of(state: ExperimentState) -> list[str]:
    """The names of its arms."""
    return [arm.name for arm in state.arms]


def _removed(before: ExperimentState, after: ExperimentState) -> JsonObject:
    """Fields of the replaced state that the new one does not have."""
    removed: JsonObject = {}
    if before.kind != after.kind:
        removed["kind"] = before.kind
    if before.metrics is not None and after.metrics is None:
        removed["metrics"] = before.metrics
    if before.holdout and not after.holdout:
        removed["holdout"] = before.holdout
    overrides = {user: arm for user, arm in before.overrides.items() if user not in after.overrides}
    if overrides:
        removed["overrides"] = overrides
    arms = sorted(set(arms_of(before)) - set(arms_of(after)))
    if arms:
        removed["arms"] = arms
    return removed


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
