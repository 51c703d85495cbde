"""Routes of health, metrics and a description of what is served."""

from __future__ import annotations

import asyncio

import numpy as np
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from serving.api.dependencies import service_of
from serving.api.etags import conditional
from serving.api.http_errors import answers, documented
from serving.api.response_schemas import About, Health, Readiness
from serving.api.responses import JsonResponse

router = APIRouter(tags=["state"])
EXAMPLE_USERS = 12


@router.get(
    "/healthz",
    response_model=None,
    responses={**documented(), 200: {"model": Health}, 503: {"model": Health}},
    summary="Liveness probe",
)
async def healthz(request: Request) -> Response:
    """503 where the process needs a restart."""
    wrong = service_of(request).health()
    return JsonResponse({"status": wrong or "ok"}, status_code=503 if wrong else 200)


@router.get(
    "/readyz",
    response_model=None,
    responses={**documented(), 200: {"model": Readiness}, 503: {"model": Readiness}},
    summary="Readiness probe",
)
async def readyz(request: Request) -> Response:
    """503 during shutdown. Recommendations do not need the event store: its state is only reported."""
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
    """Metrics of all replicas on this machine."""
    service = service_of(request)
    text = await asyncio.to_thread(service.metrics.text)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/v1/about",
    **answers(About),
    summary="Describe the deployment",
)
async def about(request: Request) -> Response:
    """Arms with their model versions, data set, genres, rating scale, and some user ids to try."""
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
