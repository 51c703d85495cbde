"""How the service is: for balancers, for Prometheus, for the page."""

from __future__ import annotations

import asyncio

import numpy as np
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from serving.api.etags import conditional
from serving.api.http_errors import documented
from serving.api.recommendations import service_of
from serving.api.response_schemas import About, Health, Readiness
from serving.api.responses import JsonResponse

router = APIRouter(tags=["state"])
EXAMPLE_USERS = 12


@router.get(
    "/healthz",
    response_model=None,
    responses={**documented(), 200: {"model": Health}, 503: {"model": Health}},
    summary="Is the process alive",
)
async def healthz(request: Request) -> Response:
    """503 asks for a restart."""
    wrong = service_of(request).health()
    return JsonResponse({"status": wrong or "ok"}, status_code=503 if wrong else 200)


@router.get(
    "/readyz",
    response_model=None,
    responses={**documented(), 200: {"model": Readiness}, 503: {"model": Readiness}},
    summary="May requests be sent here",
)
async def readyz(request: Request) -> Response:
    """503 while it shuts down. A missing event store does not stop recommendations: it is only told."""
    service = service_of(request)
    ready = not service.closing and not service.health()
    events = "available" if service.writer.available else "away"
    answer = {"status": "ready" if ready else "not ready", "events": events}
    return JsonResponse(answer, status_code=200 if ready else 503)


@router.get(
    "/metrics",
    response_model=None,
    response_class=PlainTextResponse,
    responses=documented(),
    summary="Prometheus metrics",
)
async def metrics(request: Request) -> Response:
    """Of all replicas of this machine."""
    service = service_of(request)
    text = await asyncio.to_thread(service.metrics.text)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/v1/about",
    response_model=None,
    responses={**documented(), 200: {"model": About}},
    summary="What is served",
)
async def about(request: Request) -> Response:
    """Arms with their versions, genres, the rating scale, and a few users to try."""
    service = service_of(request)
    deployment = service.deployment
    release = deployment.control.release
    low, high = service.scale
    names = release.users.names
    picked = np.unique(np.linspace(0, len(names) - 1, min(EXAMPLE_USERS, len(names))).astype(int))
    arms = [
        {
            "name": arm.name,
            "share": arm.share,
            "shadow": arm.shadow,
            "model_version": deployment.arms[arm.name].release_id,
            "created": deployment.arms[arm.name].release.manifest.created,
        }
        for arm in deployment.state.arms
    ]
    answer = JsonResponse(
        {
            "experiment": deployment.state.name,
            "revision": deployment.state.revision,
            "arms": arms,
            "dataset": release.manifest.dataset.name,
            "users": len(names),
            "items": len(release.items),
            "scale": {"low": low, "high": high},
            "genres": list(release.items.genre_names),
            "example_users": [str(names[row]) for row in picked],
        }
    )
    return conditional(request, answer)
