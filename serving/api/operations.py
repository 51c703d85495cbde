"""What happens in production, to read: results of experiments, drift, and what was done about them.

Computed in a separate process (serving/operations_service.py): a request for statistics costs the replica a
message, not the arithmetic.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.api.http_errors import HttpError, documented
from serving.api.responses import JsonResponse
from serving.api.schemas import ArmName

router = APIRouter(prefix="/v1", tags=["operations"])
Name = Annotated[ArmName, Path(examples=["main"])]
TIMEOUT_SECONDS = 10.0


class OperationsApi(Protocol):
    """Asks the operations process. Raises InputError for an unknown experiment, OSError when it is away."""

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
    response_model=None,
    responses={**documented(404, 503), 200: {"model": JsonObject}},
    summary="Users, hit rates, online rmse, latency by arm; differences with intervals; a verdict",
)
async def results(request: Request, name: Name) -> Response:
    """Intervals stay valid however often this is read. No verdict while the sample ratio is off or events
    are missing. Replayed traffic compares predictions on logged behaviour; it is no lift."""
    return await _forward(request, "results", name)


@router.get(
    "/drift",
    response_model=None,
    responses={**documented(503), 200: {"model": JsonObject}},
    summary="Drift by release and signal",
)
async def drift(request: Request) -> Response:
    """What drifted, since when, how much, for whom, and the command to run."""
    return await _forward(request, "drift")


@router.get(
    "/operations",
    response_model=None,
    responses={**documented(503), 200: {"model": JsonObject}},
    summary="All of it, as the page shows it",
)
async def overview(request: Request) -> Response:
    """Results of every experiment, drift, and the newest entries of the journal."""
    return await _forward(request, "overview")
