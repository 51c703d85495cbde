"""uvicorn's HTTP protocol with a read timeout, and a fast path for answers that need no waiting.

A slow client cannot occupy a connection. The timer starts only when data end within a request, so requests
that arrive in one piece, nearly all, cost nothing.

An application may have ``direct_answer(scope)``, which returns an answer, or None to be called as usual. It
is called first for a GET without a body on an idle keep-alive connection, which saves the task, messages and
middleware of the request: they cost as much as a look-up.
"""

from __future__ import annotations

import asyncio
import json
import urllib.parse

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

READ_SECONDS = 20.0  # from a request's first byte to its last
# Of a request's head after its first piece: httptools joins the pieces of a header value anew each time, and
# one without end would hold the event loop.
MOST_HEAD_BYTES = 1 << 16
BODY_HEADERS = (b"content-length", b"transfer-encoding")
FIRST_BYTE_SECONDS = 75.0  # for a new connection, as long as keep-alive


class TimedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose request is incomplete after a timeout."""

    _reading = False
    _in_head = False
    _head_bytes = 0  # of the present request, without its first piece
    _answered = False  # the current request was answered directly
    _used = False  # some request of the connection was answered directly
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start(FIRST_BYTE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._reading:  # the first byte of a request, perhaps of the connection
            self._stop()
        continued = self._in_head
        super().data_received(data)
        if continued and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self._stop()
                self._refuse(431, "headers_too_large", f"a head may have {MOST_HEAD_BYTES} bytes at most")
        if self._timer is None and not self.transport.is_closing() and self._incomplete():
            self._start(READ_SECONDS)

    def on_message_begin(self) -> None:
        self._reading = self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        direct = getattr(self.config.app, "direct_answer", None)
        if direct is None or not self._may_be_direct():
            super().on_headers_complete()
            return
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["method"] = "GET"
        self.scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        self.scope["query_string"] = url.query or b""
        try:
            answer = direct(self.scope)
        except Exception:  # the usual path answers and logs it
            answer = None
        if answer is None:
            super().on_headers_complete()
            return
        status, headers, body = answer
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*lines, b"\r\n", body)))
        self._answered = self._used = True
        self.on_response_complete()

    def _may_be_direct(self) -> bool:
        free = self.cycle is None or self.cycle.response_complete
        return (
            free
            and not (self.root_path or self.flow.write_paused or self.expect_100_continue)
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not any(name in BODY_HEADERS for name, _ in self.headers)
        )

    def on_message_complete(self) -> None:
        self._reading = False
        self._stop()
        if self._answered:
            self._answered = False
        else:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP, or a URL beyond 65,535 bytes, in the API's error shape."""
        self._refuse(400, "malformed_request", msg)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answers what is not read to its end, and closes the connection."""
        body = json.dumps({"error": {"code": code, "message": message}, "request_id": ""}).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()

    def _incomplete(self) -> bool:
        """Whether the data ended within a request or its request line."""
        return self._reading or (self.cycle is None and not self._used)

    def _start(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._expire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
