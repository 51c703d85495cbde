"""uvicorn's HTTP protocol with a deadline for reading a request: a slow client does not hold a connection.

Requests that arrive whole, which is nearly all, cost nothing: the timer starts only when a piece of data ends
in the middle of one.
"""

from __future__ import annotations

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

READ_SECONDS = 20.0  # from a request's first byte to its last
FIRST_BYTE_SECONDS = 75.0  # a new connection that asks nothing, as long as one that is kept alive


class TimedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose request is not there whole in time."""

    _reading = False
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
        super().data_received(data)
        if self._timer is None and not self.transport.is_closing() and self._incomplete():
            self._start(READ_SECONDS)

    def on_message_begin(self) -> None:
        self._reading = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._reading = False
        self._stop()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or has a URL beyond 65,535 bytes, is answered in the shape of all other errors."""
        body = json.dumps({"error": {"code": "malformed_request", "message": msg}, "request_id": ""}).encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()

    def _incomplete(self) -> bool:
        """Whether the data ended within a request (or within the line before it)."""
        return self._reading or self.cycle is None

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
