"""Fast path for memoised lists, and for refusals under overload, in front of the framework.

``GET /v1/users/{user_id}/recommendations`` with at most ``count`` is most of a service's traffic, and its
list is mostly looked up. Routing, validation and dependency injection cost several times the look-up, so such
requests are recognised here; any other request goes on to the framework. Authentication, rate limit, metrics
and log wrap both paths.

Overload is refused here as well: hundreds of refusals that each cost as much as a request would delay the
requests that are admitted.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.http_errors import error_response
from serving.api.middleware import DirectAnswer
from serving.api.recommendations import USER_LISTS, list_answer, router, set_log_fields
from serving.api.responses import cached_list_body, server_timing
from serving.api.schemas import MAX_ID, MAX_ITEMS, ListQuery
from serving.engine.admission import Overloaded
from serving.engine.list_memo import CachedList
from serving.engine.requests import RecommendationRequest, Recommended
from serving.engine.service import Service

GZIP_LEVEL = 4
SESSIONS = "/v1/recommendations"
PREFIX, SUFFIX = USER_LISTS.split("{user_id:any}")
COUNT = re.compile(rb"count=([1-9][0-9]{0,2})")
# Options that need a computed list, in a query string and in a session's body.
COMPUTED_QUERY = re.compile(rb"(^|&)(include_seen|explain)=(true|t|yes|y|on|1)(&|$)", re.IGNORECASE)
COMPUTED_BODY = re.compile(rb'"ratings"\s*:\s*\[\s*\{|"(include_seen|explain)"\s*:\s*true')
DEFAULT_COUNT: int = ListQuery.model_fields["count"].default


class CachedListMiddleware:
    """``app`` with a fast path for lists that need no computing.

    ``compress`` adds compression to an application; bodies below ``compress_from`` bytes are sent as they
    are.
    """

    def __init__(
        self, app: ASGIApp, service: Service, *, compress: Callable[[ASGIApp], ASGIApp], compress_from: int
    ) -> None:
        self._app = compress(app)
        self._compress = compress
        self._compress_from = compress_from
        self._service = service
        routes = [route for route in router.routes if isinstance(route, Route)]
        self._route = next(route for route in routes if route.path == USER_LISTS)
        self._session_route = next(
            route for route in routes if route.path == SESSIONS and route.methods == {"POST"}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if await self._answered(scope, receive, send):
                return
            if self._service.computation.full:
                refused, receive = await self._must_compute(scope, receive)
                if refused:
                    self._service.computation.count_refusal()
                    await _overloaded(scope)(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def direct_answer(self, scope: Scope) -> DirectAnswer | None:
        """The answer where the list is memoised, or where it must be computed and capacity is exhausted."""
        plain = _plain_list(scope)
        if plain is None:
            return self._direct_refusal(scope)
        served = self._service.lists.cached_list(*plain)
        if served is None or served.cached is None:
            return None
        scope["route"] = self._route
        answer = _cached_response(scope, served, served.cached)
        if len(answer.body) < self._compress_from:
            return 200, answer.headers, answer.body
        return 200, *compressed(answer, scope)

    def _direct_refusal(self, scope: Scope) -> DirectAnswer | None:
        if not self._service.computation.full or not self._is_computed(scope):
            return None
        self._service.computation.count_refusal()
        refusal = _overloaded(scope)
        return refusal.status_code, refusal.raw_headers, bytes(refusal.body)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        plain = _plain_list(scope)
        if plain is None:
            return False
        user_id, count = plain
        scope["route"] = self._route
        try:  # memoised lists are looked up there
            served = await self._service.lists.recommend(RecommendationRequest(user_id=user_id, count=count))
        except Overloaded:
            await _overloaded(scope)(scope, receive, send)
            return True
        if served.cached is None:
            answer: ASGIApp = list_answer(scope, served)
            await self._compress(answer)(scope, receive, send)
            return True
        answer = _cached_response(scope, served, served.cached)
        if len(answer.body) >= self._compress_from:
            answer = self._compress(answer)
        await answer(scope, receive, send)
        return True

    async def _must_compute(self, scope: Scope, receive: Receive) -> tuple[bool, Receive]:
        """Whether the request needs a computed list, and a ``receive`` that has its body."""
        path: str = scope["path"]
        if scope["method"] == "POST" and path == SESSIONS:
            body, receive = await _read_ahead(receive)
            if COMPUTED_BODY.search(body):
                scope["route"] = self._session_route
                return True, receive
            return False, receive
        return self._is_computed(scope), receive

    def _is_computed(self, scope: Scope) -> bool:
        """Whether the request needs a computed user list; sets its route then."""
        path: str = scope["path"]
        lists = scope["method"] == "GET" and path.startswith(PREFIX) and path.endswith(SUFFIX)
        if not lists or not COMPUTED_QUERY.search(scope["query_string"]):
            return False
        scope["route"] = self._route
        return True


class CachedResponse:
    """A minimal ASGI response with JSON and a Server-Timing header."""

    def __init__(self, body: bytes, timing: str) -> None:
        self.body = body
        self.headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
            (b"server-timing", timing.encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def _cached_response(scope: Scope, served: Recommended, cached: CachedList) -> CachedResponse:
    set_log_fields(scope, served)
    return CachedResponse(cached_list_body(served, cached), server_timing(served.milliseconds))


def compressed(answer: CachedResponse, scope: Scope) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body as GZipMiddleware sends them, compressed if the client accepts gzip."""
    accepts = any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])
    vary = (b"vary", b"Accept-Encoding")
    if not accepts:
        return [*answer.headers, vary], answer.body
    body = zlib.compress(answer.body, GZIP_LEVEL, wbits=31)
    headers = [(b"content-length", b"%d" % len(body)), *answer.headers[1:]]
    return [*headers, (b"content-encoding", b"gzip"), vary], body


async def _read_ahead(receive: Receive) -> tuple[bytes, Receive]:
    """A request's body, and a ``receive`` that returns it again."""
    parts: list[bytes] = []
    message: Message = await receive()
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
        message = await receive()
    body = b"".join(parts)
    again: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    if message["type"] != "http.request":  # the client has gone
        body, again = b"", [message]

    async def receive_again() -> Message:
        return again.pop() if again else await receive()

    return body, receive_again


def _overloaded(scope: Scope) -> Response:
    return error_response(503, str(Overloaded()), scope["request_id"], code="overloaded")


def _plain_list(scope: Scope) -> tuple[str, int] | None:
    """The user id and length of a request for a plain list, None for any other request."""
    path: str = scope["path"]
    if scope["method"] != "GET" or not path.startswith(PREFIX) or not path.endswith(SUFFIX):
        return None
    user_id = path[len(PREFIX) : -len(SUFFIX)]
    count = _count(scope["query_string"])
    if count is None or not 0 < len(user_id) <= MAX_ID or "\0" in user_id or scope.get("root_path"):
        return None
    return user_id, count


def _count(query: bytes) -> int | None:
    """``count`` of a query string with no other parameter, else None."""
    if not query:
        return DEFAULT_COUNT
    match = COUNT.fullmatch(query)
    count = int(match[1]) if match else None
    return count if count is not None and count <= MAX_ITEMS else None
