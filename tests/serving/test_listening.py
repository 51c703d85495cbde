"""The name that keeps replicas off all interfaces is there, and a Ray without it is not started; connections
are accepted many at a time.

What listens in the end is read from /proc by test_served.py (serve) and test_deploy.py (deploy).
"""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
import ray.serve._private.replica as serve_replica
import ray.util

from recsys.errors import InputError
from serving import ray_patches as module
from serving.server import ACCEPTS, Server
from tests.waiting import free_port


def test_the_name_is_there() -> None:
    module.check_names()


def test_a_ray_without_it_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(serve_replica, module.GRPC_PORT)
    for start in (module.check_names, module.bind_to_node_address):
        with pytest.raises(InputError, match=r"Ray [\d.]+ lacks .*would listen on all interfaces; install"):
            start()


def test_the_port_is_bound_to_the_nodes_address(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(serve_replica, module.GRPC_PORT, lambda server, wanted: opened.append(wanted))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    module.bind_to_node_address()
    serve_replica.add_port_to_grpc_server(None, "[::]:0")
    assert opened == ["127.0.0.1:0"]


def test_clients_that_connect_at_once_are_accepted_in_a_few_passes_of_the_loop() -> None:
    """A pass can hold a turn of computing: at one a pass the last of 128 waited for half a second."""
    begun, go = threading.Event(), threading.Event()
    passes, seen = 0, []

    def count(loop: asyncio.AbstractEventLoop) -> None:
        nonlocal passes
        passes += 1
        if len(seen) < 65:
            loop.call_soon(count, loop)

    async def app(scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        if not seen:
            loop = asyncio.get_running_loop()
            loop.call_soon(count, loop)
            begun.set()
            go.wait(120)  # the loop is busy while all others connect
        seen.append(passes)
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]

    server = Server(app, host="127.0.0.1", port=(port := free_port()))  # type: ignore[arg-type]
    server.start()
    clients = []
    for number in range(65):
        clients.append(socket.create_connection(("127.0.0.1", port), timeout=120))
        clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not number:
            assert begun.wait(120)
    go.set()
    assert [client.recv(12) for client in clients] == [b"HTTP/1.1 204"] * 65
    for client in clients:
        client.close()
    server.stop()
    assert max(seen) - min(seen) <= 64 / ACCEPTS + 16
