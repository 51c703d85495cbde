"""Everything that goes wrong, in one JSON shape: ``{"error": {"code", "message"}, "request_id"}``."""

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
    500: "internal",
    503: "unavailable",
}
MEANINGS = {
    400: "The request or its JSON cannot be read, or it names another host",
    401: "The API key is missing or wrong",
    403: "The admin token is missing or wrong",
    404: "There is no such item, experiment or route",
    405: "The route has no such method",
    409: "Changed since it was read; an event id taken by other content; an item the release cannot score",
    413: "The body is larger than may be",
    415: "The body is not said to be JSON",
    422: "A value is missing, unknown or out of bounds",
    429: "More requests than this key may send; Retry-After says when to go on",
    500: "Our mistake; the log has the reason under the request id",
    503: "Not possible at the moment; try again",
}
MAX_DETAILS = 20


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What FastAPI's ``responses`` takes; 400, 401, 405, 413, 415, 422 and 429 may come from any route."""
    return {
        status: {"model": ErrorResponse, "description": MEANINGS[status]}
        for status in (*statuses, 400, 401, 405, 413, 415, 422, 429)
    }


class HttpError(Exception):
    """A refusal with its status."""

    def __init__(self, status: int, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES[status]


def error_response(
    status: int, message: str, request_id: str, *, code: str | None = None, details: Any = None
) -> Response:
    error: dict[str, Any] = {"code": code or CODES.get(status, "refused"), "message": message}
    if details:
        error["details"] = details
    headers = {"retry-after": "1"} if status == 503 else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    body = json.dumps({"error": error, "request_id": request_id})
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


def add_error_handlers(app: FastAPI) -> None:
    """The handlers; what none of them knows ends in the gate as a plain 500."""

    @app.exception_handler(HttpError)
    async def refused(request: Request, error: HttpError) -> Response:
        return error_response(error.status, error.message, request_id(request), code=error.code)

    @app.exception_handler(InputError)
    async def bad_input(request: Request, error: InputError) -> Response:
        return error_response(422, str(error), request_id(request))

    @app.exception_handler(UnscoredItem)
    async def unscored(request: Request, error: Exception) -> Response:
        return error_response(409, str(error), request_id(request), code="unscored_item")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        kind = request.headers.get("content-type", "")
        if found and found[0]["loc"] == ("body",) and not kind.partition(";")[0].strip().endswith("json"):
            got = repr(kind[:100]) if kind else "none"
            return error_response(
                415,
                f"the body must be JSON with `Content-Type: application/json`, got {got}",
                request_id(request),
            )
        if any(one["type"] == "json_invalid" for one in found):
            return error_response(400, "the body is not JSON", request_id(request))
        details = [
            {"where": ".".join(map(str, one["loc"])), "message": one["msg"].removeprefix("Value error, ")}
            for one in found[:MAX_DETAILS]
        ]
        first = details[0]
        return error_response(
            422, f"{first['where']}: {first['message']}", request_id(request), details=details
        )

    @app.exception_handler(Conflict)
    async def conflict(request: Request, error: Conflict) -> Response:
        newest = error.current.revision if error.current else 0
        return error_response(409, f"{error}; the newest revision is {newest}", request_id(request))

    @app.exception_handler(ItemConflict)
    @app.exception_handler(RuleConflict)
    async def changed_meanwhile(request: Request, error: Exception) -> Response:
        return error_response(409, str(error), request_id(request))

    @app.exception_handler(EventConflict)
    async def event_conflict(request: Request, error: EventConflict) -> Response:
        return error_response(409, str(error), request_id(request), code="event_conflict")

    @app.exception_handler(Overloaded)
    async def overloaded(request: Request, error: Overloaded) -> Response:
        return error_response(503, str(error), request_id(request), code="overloaded")

    @app.exception_handler(StoreUnavailable)
    @app.exception_handler(DeadlineExceeded)
    async def unavailable(request: Request, error: Exception) -> Response:
        answer = error_response(503, str(error), request_id(request))
        answer.headers["retry-after"] = "1"
        return answer

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        return error_response(500, "our mistake; it has been logged", request_id(request))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        answer = error_response(error.status_code, str(error.detail), request_id(request))
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return answer
