"""Routes of operations: results of experiments, drift, and the journal of actions.

The operations process (serving/operations_service.py) computes them: a request for statistics costs a replica
one message.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.http_errors import HttpError, answers
from serving.api.responses import JsonResponse
from serving.api.schemas import ArmName

router = APIRouter(prefix="/v1", tags=["operations"])
Name = Annotated[ArmName, Path(examples=["main"])]
TIMEOUT_SECONDS = 10.0


class OperationsApi(Protocol):
    """Client of the operations process. InputError: unknown experiment; OSError: it is down."""

    async def results(self, experiment: str) -> JsonObject: ...

    async def drift(self) -> JsonObject: ...

    async def overview(self) -> JsonObject: ...


async def _forward(request: Request, name: str, *arguments: Any) -> Response:
    client: OperationsApi | None = getattr(request.app.state, "operations", None)
    if client is None:
        raise HttpError(503, "this server was started without its operations process")
    try:
        return JsonResponse(await asyncio.wait_for(getattr(client, name)(*arguments), TIMEOUT_SECONDS))
    except InputError as error:
        raise HttpError(404, str(error)) from None
    except (OSError, TimeoutError):
        raise HttpError(503, "the operations process does not answer at the moment; try again") from None


@router.get(
    "/experiments/{name}/results",
    **answers(JsonObject, 404, 503),
    summary="Results of an experiment, with a verdict",
)
async def results(request: Request, name: Name) -> Response:
    """Users, hit rate, online rmse and latency of each arm, differences with intervals, and a verdict.
    Intervals are valid at any number of looks. There is no verdict while the sample ratio is off or events
    are missing. Replayed traffic compares predictions on logged behaviour: it does not measure a lift."""
    return await _forward(request, "results", name)


@router.get(
    "/drift",
    **answers(JsonObject, 503),
    summary="Drift by release and signal",
)
async def drift(request: Request) -> Response:
    """The signals that drifted, since when, by how much and where, and the command that retrains."""
    return await _forward(request, "drift")


@router.get(
    "/operations",
    **answers(JsonObject, 503),
    summary="All results, drift and the journal, as the page shows them",
)
async def overview(request: Request) -> Response:
    """Results of every experiment, drift, and the newest entries of the journal."""
    return await _forward(request, "overview")
