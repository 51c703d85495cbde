"""Error responses in one JSON shape: ``{"error": {"code", "message"}, "request_id"}``."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from recsys.errors import InputError
from serving.api.response_schemas import ErrorResponse
from serving.engine.admission import Overloaded
from serving.engine.pending_work import DeadlineExceeded
from serving.engine.unreleased_items import UnscoredItem
from serving.events.event_writer import StoreUnavailable
from serving.events.item_log import ItemConflict
from serving.events.rule_log import RuleConflict
from serving.events.store import Conflict, EventConflict

CODES = {
    400: "malformed_json",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limited",
    431: "headers_too_large",
    500: "internal",
    503: "unavailable",
}
MEANINGS = {
    400: "The request or its JSON is malformed, or its Host header is not allowed",
    401: "The API key is missing or wrong",
    403: "The admin token is missing or wrong",
    404: "No such item, experiment or route",
    405: "The route does not support this method",
    409: "Changed since it was read, an event id used for other content, or an item the release cannot score",
    413: "The body is too large",
    415: "The body's Content-Type is not JSON",
    422: "A value is missing, unknown or out of bounds",
    429: "Rate limit exceeded; retry after Retry-After seconds",
    431: "The request line and headers are too large",
    500: "Internal error, logged under the request id",
    503: "Temporarily unavailable; try again",
}
MAX_DETAILS = 20
# Status and code of exceptions whose text is the message; the code None is that of the status.
STATUSES: dict[type[Exception], tuple[int, str | None]] = {
    InputError: (422, None),
    UnscoredItem: (409, "unscored_item"),
    ItemConflict: (409, None),
    RuleConflict: (409, None),
    EventConflict: (409, "event_conflict"),
    Overloaded: (503, "overloaded"),
    StoreUnavailable: (503, None),
    DeadlineExceeded: (503, None),
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses`` of a route; 400, 401, 405, 413, 415, 422, 429 and 431 are common to all."""
    return {
        status: {"model": ErrorResponse, "description": MEANINGS[status]}
        for status in (*statuses, 400, 401, 405, 413, 415, 422, 429, 431)
    }


def answers(model: Any, *statuses: int) -> dict[str, Any]:
    """Keyword arguments of a route that answers with ``model``, or with an error of ``statuses``.

    The model describes the answer to OpenAPI alone: routes return finished responses."""
    return {"response_model": None, "responses": {200: {"model": model}, **documented(*statuses)}}


class HttpError(Exception):
    """An error response with its status and code."""

    def __init__(self, status: int, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES[status]


def error_response(
    status: int, message: str, request_id: str, *, code: str | None = None, details: Any = None
) -> Response:
    """The response of an error; 503 and 401 carry the headers that clients expect with them."""
    error: dict[str, Any] = {"code": code or CODES.get(status, "refused"), "message": message}
    if details:
        error["details"] = details
    headers = {"retry-after": "1"} if status == 503 else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    body = json.dumps({"error": error, "request_id": request_id})
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def request_id(request: Request) -> str:
    """The id under which the request is logged."""
    return str(request.scope.get("request_id", ""))


def add_error_handlers(app: FastAPI) -> None:
    """Register a handler for each kind of error; any other exception is a plain 500."""

    @app.exception_handler(HttpError)
    async def refused(request: Request, error: HttpError) -> Response:
        return error_response(error.status, error.message, request_id(request), code=error.code)

    async def mapped(request: Request, error: Exception) -> Response:
        status, code = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
        return error_response(status, str(error), request_id(request), code=code)

    for kind in STATUSES:
        app.add_exception_handler(kind, mapped)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        kind = request.headers.get("content-type", "")
        if faults and faults[0]["loc"] == ("body",) and not kind.partition(";")[0].strip().endswith("json"):
            received = repr(kind[:100]) if kind else "none"
            return error_response(
                415,
                f"the body must be JSON with `Content-Type: application/json`, got {received}",
                request_id(request),
            )
        if any(fault["type"] == "json_invalid" for fault in faults):
            return error_response(400, "the body is not JSON", request_id(request))
        details = [
            {"where": ".".join(map(str, fault["loc"])), "message": fault["msg"].removeprefix("Value error, ")}
            for fault in faults[:MAX_DETAILS]
        ]
        first = details[0]
        return error_response(
            422, f"{first['where']}: {first['message']}", request_id(request), details=details
        )

    @app.exception_handler(Conflict)
    async def conflict(request: Request, error: Conflict) -> Response:
        newest = error.current.revision if error.current else 0
        return error_response(409, f"{error}; the newest revision is {newest}", request_id(request))

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        return error_response(500, "our mistake; it has been logged", request_id(request))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        answer = error_response(error.status_code, str(error.detail), request_id(request))
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return answer
