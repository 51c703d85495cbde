"""ASGI middleware around every request: request id, API key, rate limit, body size, metrics and access log.

It wraps the framework's own answers too, so that each request is counted and logged once and none ends in a
traceback. A body that is too large is read and discarded (up to a limit) before 413 is sent: a client that is
still sending would see a broken connection instead of the answer.
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
MAX_DISCARDED_BYTES = 256 << 20  # of a refused body, before the connection is closed
DISCARD_SECONDS = 15.0


# Status, headers, body.
DirectAnswer = tuple[int, list[tuple[bytes, bytes]], bytes]
Direct = Callable[[Scope], DirectAnswer | None]


class BodyTooLarge(Exception):
    """The body passed the limit while it was read."""


class ApiMiddleware:
    """``keys`` are the valid API keys; without any the API is open (loopback only). ``hosts`` are accepted
    host names besides IP addresses and ``localhost``, None for any."""

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
                # Not the wall clock's reading now, which may have been set meanwhile.
                ended_ns=began_ns + round(1e9 * (perf_counter() - began)),
                stages=scope.get("stages", {}),
                fields=scope["log_fields"],
            )

    def direct_answer(self, scope: Scope) -> DirectAnswer | None:
        """The answer to a GET request that needs neither waiting nor the framework, counted and logged as
        ``__call__`` does; None leaves the request to ``__call__``."""
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
        """Count and log an answered request; returns the route's path."""
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
        """The error response of a request with a foreign host, without a key, or over the rate limit; or
        None."""
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
            if remaining >= 0:  # else the routes answer a truncated body
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
    """Set and return the request id; routes put arm, source and user into ``log_fields``."""
    received = headers.get(b"x-request-id", b"")
    request_id = received.decode() if REQUEST_ID.fullmatch(received) else new_request_id()
    scope["request_id"] = request_id
    scope["log_fields"] = {}
    return request_id


def request_key(headers: dict[bytes, bytes]) -> bytes:
    """The bearer token or API key of a request, b"" without one."""
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if kind.lower() == b"bearer" else headers.get(b"x-api-key", b"")
