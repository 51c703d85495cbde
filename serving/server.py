"""A replica's HTTP server: uvicorn on its own thread and event loop, on a port that all replicas share.

Each replica binds the API's address with SO_REUSEPORT and the kernel distributes new connections, so a
request goes from the socket straight into the process that answers it. Ray Serve starts, watches, restarts
and scales the replicas; its proxies are not used. Median latency of an empty FastAPI route at concurrency 1
and 8, on two busy cores in one run of tests/benchmarks/serving: Serve's default proxy 12.7 and 87 ms, this
0.14 and 1.3 ms. Serve with HAProxy is fast too, but HAProxy's statistics and metrics ports and every
replica's own port listen on all interfaces, whatever the API's host is.

The price: connections, not requests, are distributed (a client with one keep-alive connection stays with one
replica), and the open requests of a killed replica fail: a proxy in front retries them
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
# uvloop accepts one connection per socket in an iteration of its loop, which may include a computation: of
# 128 simultaneous clients the last was accepted after half a second. Each duplicate socket accepts one more.
ACCEPTS = 16
DRAIN_SECONDS = 10
SWITCH_SECONDS = 0.001  # the recommender's thread yields to the event loop at least this often


def listener(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """A bound socket. Raises InputError where the address is not available; unless ``shared``, also where
    another service of ours uses it."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
    except OSError as error:
        raise InputError(f"{host} is not an address of this machine: {error.strerror}") from None
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
    """``start`` returns when connections are accepted; ``stop`` finishes open requests first."""

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        self._socket = listener(host, port)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=TimedHttpProtocol,
            lifespan="off",
            access_log=False,
            log_level="warning",
            log_config=None,  # logged as ours (``error_log.py``)
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
