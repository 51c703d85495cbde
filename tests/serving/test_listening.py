"""The name that keeps replicas off all interfaces is there, and a Ray without it is not started.

What listens in the end is read from /proc by test_served.py (serve) and test_deploy.py (deploy).
"""

from __future__ import annotations

import pytest
import ray.serve._private.replica as serve_replica
import ray.util

from recsys.errors import InputError
from serving import ray_patches as module


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
