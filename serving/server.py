"""One replica's HTTP server: uvicorn on its own thread and event loop, on a port that replicas share.

Each replica binds the API's address itself with SO_REUSEPORT and the kernel deals out new connections, so
a request goes from the socket straight into the process that answers it. Ray Serve still starts, watches,
restarts and scales the replicas; what it would have put before them is left out. An empty FastAPI route
at concurrency 1 and 8, p50 ms, on two busy cores in one run of tests/benchmarks/serving: Serve's default
proxy 12.7 and 87, this 0.14 and 1.3. Serve with HAProxy is quick too, but HAProxy's statistics and metrics
ports and every replica's own port listen on all interfaces, whatever the API's host is.

The price: connections, not requests, are spread (a client with one keep-alive connection stays with one
replica), and a killed replica takes its open requests with it: a proxy in front tries those again
(serving/proxy/nginx.conf).
"""

from __future__ import annotations

import socket
import sys
import threading
import time

import uvicorn
from starlette.types import ASGIApp

from recsys.errors import InputError
from serving.read_timeouts import TimedHttpProtocol

BACKLOG = 2048
# uvloop accepts one connection of a socket in a pass of its loop, and a pass may hold a turn of computing: of
# 128 clients that connect at once the last was accepted after half a second. Each duplicate accepts one more.
ACCEPTS = 16
DRAIN_SECONDS = 10
SWITCH_SECONDS = 0.001  # the recommender's thread gives way to the event loop at least this often


def listener(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A bound socket. Raises InputError where the address cannot be had; not ``shared``, also where
    another service of ours has it."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
    except OSError as error:
        raise InputError(f"{host} is no address of this machine: {error.strerror}") from None
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what is there or choose another --port"
        ) from None
    return bound


class Server:
    """``start`` returns when connections are accepted; ``stop`` lets open requests end first."""

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        self._socket = listener(host, port)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=TimedHttpProtocol,
            lifespan="off",
            access_log=False,
            log_level="warning",
            log_config=None,  # its records go where ours go (``error_log.py``)
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        self._socket.listen(BACKLOG)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)
        if not self._server.started:
            raise RuntimeError("the HTTP server did not start; its log has the reason")

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(DRAIN_SECONDS + 5)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket, *(self._socket.dup() for _ in range(ACCEPTS - 1))])
