"""A real HTTP server on a local port that answers as told, and keeps what it was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Reply = tuple[int, dict[str, str]]
SILENCE = 0


class WebhookServer:
    """``replies(n)`` is the (status, headers) of the n-th request from 0; status SILENCE never answers."""

    def __init__(self, replies: Callable[[int], Reply] = lambda _: (204, {})) -> None:
        self.requests: list[tuple[float, str, dict[str, str], bytes]] = []
        self._release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                number = len(outer.requests)
                outer.requests.append((time.monotonic(), self.path, dict(self.headers), body))
                status, headers = replies(number)
                if status == SILENCE:
                    outer._release.wait(30)
                    return
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/planted-secret-token"

    def __enter__(self) -> WebhookServer:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()

    def bodies(self) -> list[bytes]:
        return [body for _, _, _, body in self.requests]
