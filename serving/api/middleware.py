"""What every request passes before its route: request id, API key, rate limit, body size, count and log.

Wraps everything, also what the framework itself answers, so that each request is counted and logged once
and none ends in a traceback. A body that is too large is read to its end and thrown away (up to a limit)
before 413 is sent: a client that is still sending would otherwise see a broken connection, not the answer.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from time import perf_counter

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.access_log import AccessLog
from serving.api.http_errors import error_response
from serving.api.rate_limit import RateLimiter
from serving.api.security import host_name, is_allowed_host
from serving.identifiers import new_request_id
from serving.service_metrics import ServiceMetrics
from serving.tracing import RequestTracer

log = logging.getLogger(__name__)
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
PUBLIC_PATHS = ("/", "/docs", "/operations", "/openapi.json", "/healthz", "/readyz", "/favicon.ico")
PUBLIC_FOLDER = "/pages/"
MAX_DISCARDED_BYTES = 256 << 20  # bytes of a refused body that are read before the connection is cut
DISCARD_SECONDS = 15.0  # seconds for the same


# Status, headers, body.
DirectAnswer = tuple[int, list[tuple[bytes, bytes]], bytes]
Direct = Callable[[Scope], DirectAnswer | None]


class BodyTooLarge(Exception):
    """The body passed the limit while it was read."""


class ApiMiddleware:
    """``keys`` are the tokens that open the API; none means that it is open (loopback only). ``hosts`` are
    names that it answers to beside addresses and ``localhost``, None for any."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: ServiceMetrics,
        keys: tuple[str, ...],
        most_bytes: int,
        hosts: tuple[str, ...] | None = None,
        access_log: AccessLog,
        rate_limiter: RateLimiter | None = None,
        tracer: RequestTracer | None = None,
    ) -> None:
        self._app = app
        self._direct: Direct | None = getattr(app, "direct_answer", None)
        self._metrics = metrics
        self._keys = tuple(key.encode() for key in keys)
        self._most_bytes = most_bytes
        self._hosts = hosts
        self._access_log = access_log
        self._rate_limiter = rate_limiter
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, began_ns = perf_counter(), time.time_ns()
        method = scope["method"]
        if method == "HEAD" and (scope["path"] in PUBLIC_PATHS or scope["path"] == "/metrics"):
            scope = {**scope, "method": "GET"}  # the server leaves the body out
        headers = dict(scope["headers"])
        request_id = _begin(scope, headers)
        status = 0

        async def send_with_request_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._guarded(scope, headers, receive, send_with_request_id)
        except Exception:
            log.exception("request %s failed", request_id)
            if status == 0:
                await error_response(500, "our mistake; it has been logged", request_id)(
                    scope, receive, send_with_request_id
                )
        route = self._count(scope, method, status, began)
        if self._tracer is not None:
            self._tracer.record(
                headers,
                method=scope["method"],
                route=route,
                status=status,
                began_ns=began_ns,
                ended_ns=time.time_ns(),
                stages=scope.get("stages", {}),
                fields=scope["log_fields"],
            )

    def direct_answer(self, scope: Scope) -> DirectAnswer | None:
        """The whole answer to a request without a body, where it needs no waiting and no framework: as
        ``__call__`` gives it, counted and logged. None leaves the request to ``__call__``."""
        if self._direct is None or self._tracer is not None:
            return None
        began = perf_counter()
        headers = dict(scope["headers"])
        request_id = _begin(scope, headers)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            scope["admitted"] = True
            answer = self._direct(scope)
            if answer is None:
                return None
        else:
            answer = refusal.status_code, refusal.raw_headers, bytes(refusal.body)
        answer[1].append((b"x-request-id", request_id.encode()))
        self._count(scope, scope["method"], answer[0], began)
        return answer

    def _count(self, scope: Scope, method: str, status: int, began: float) -> str:
        """Counts and logs an answered request. Returns the route's path."""
        seconds, fields = perf_counter() - began, scope["log_fields"]
        route: str = getattr(scope.get("route"), "path", "unknown").replace(":any}", "}")
        self._metrics.count_request(
            route, status, fields.get("arm", ""), fields.get("source", ""), seconds=seconds
        )
        self._access_log.note(
            at=time.time(), request_id=scope["request_id"], method=method, route=route, status=status,
            milliseconds=round(seconds * 1000, 3), **fields,
        )  # fmt: skip
        return route

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        """The answer to who may not pass: another site's name, no key, too many requests."""
        path, request_id = scope["path"], scope["request_id"]
        host = headers.get(b"host", b"")
        if self._hosts is not None and not self._is_for_us(scope, self._hosts):
            text = (
                f"this service has no key and does not answer to the name {host_name(host)[:100]!r}: use an "
                "address or localhost, list the name in allowed_hosts, or set RECSYS_API_KEY"
            )
            return error_response(400, text, request_id, code="unknown_host")
        public = path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDER)
        if self._keys and not public:
            token = request_key(headers)
            if not any(hmac.compare_digest(token, key) for key in self._keys):
                return error_response(
                    401, "give the API key as `Authorization: Bearer ...` or X-API-Key", request_id
                )
        if self._rate_limiter is not None and not public:
            key = request_key(headers) if self._keys else b""
            address = (scope.get("client") or ("",))[0]
            seconds = self._rate_limiter.retry_after(key, address)
            if seconds is not None:
                text = f"more than {self._rate_limiter.rate} requests; try again in {seconds} s"
                answer = error_response(429, text, request_id)
                answer.headers["retry-after"] = str(seconds)
                return answer
        return None

    async def _guarded(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        refusal = None if scope.get("admitted") else self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most_bytes:
            await self._refuse(413, scope, receive, send)
            return
        if scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        remaining = self._most_bytes

        async def receive_counted() -> Message:
            nonlocal remaining
            message = await receive()
            if message["type"] == "http.request":
                remaining -= len(message.get("body", b""))
                if remaining < 0:
                    raise BodyTooLarge
            return message

        async def send_unless_too_large(message: Message) -> None:
            if remaining >= 0:  # else it is what the routes make of a body that broke off
                await send(message)

        with contextlib.suppress(BodyTooLarge):
            await self._app(scope, receive_counted, send_unless_too_large)
        if remaining < 0:
            await self._refuse(413, scope, receive, send)

    @staticmethod
    def _is_for_us(scope: Scope, hosts: tuple[str, ...]) -> bool:
        names = [value for name, value in scope["headers"] if name == b"host"]
        return len(names) < 2 and all(is_allowed_host(name, hosts) for name in names)

    async def _refuse(self, status: int, scope: Scope, receive: Receive, send: Send) -> None:
        read, ends = 0, perf_counter() + DISCARD_SECONDS
        while read < MAX_DISCARDED_BYTES and perf_counter() < ends:
            message = await receive()
            read += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        text = f"the body may have {self._most_bytes} bytes at most"
        answer = error_response(status, text, scope["request_id"])
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)


def _begin(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """The request's id; ``log_fields`` is where routes leave what they answered with: arm, source, user."""
    received = headers.get(b"x-request-id", b"")
    request_id = received.decode() if REQUEST_ID.fullmatch(received) else new_request_id()
    scope["request_id"] = request_id
    scope["log_fields"] = {}
    return request_id


def request_key(headers: dict[bytes, bytes]) -> bytes:
    """The token that a request carries, b"" where it carries none."""
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if kind.lower() == b"bearer" else headers.get(b"x-api-key", b"")
