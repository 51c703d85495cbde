"""The name that keeps replicas off all interfaces is there, and a Ray without it is not started.

What listens in the end is read from /proc by test_served.py (serve) and test_deploy.py (deploy).
"""

from __future__ import annotations

import pytest
import ray
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


def test_a_start_that_times_out_is_tried_once_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow, broken = Exception("The current node timed out during startup."), Exception("broken")
    for outcomes, raised in (([slow], None), ([slow, slow], TimeoutError), ([broken], Exception)):
        left = [*outcomes, None]
        given: list[str] = []

        def init(address: str, left: list[Exception | None] = left, given: list[str] = given) -> None:
            given.append(address)
            outcome = left.pop(0)
            if outcome is not None:
                raise outcome

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "shutdown", lambda: None)
        if raised is None:
            module.start_ray(address="local")
        else:
            with pytest.raises(raised, match=r"twice|broken"):
                module.start_ray(address="local")
        assert given == ["local"] * (1 if outcomes == [broken] else 2)
    assert "once more" in capsys.readouterr().out


def test_the_port_is_bound_to_the_nodes_address(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(serve_replica, module.GRPC_PORT, lambda server, wanted: opened.append(wanted))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    module.bind_to_node_address()
    serve_replica.add_port_to_grpc_server(None, "[::]:0")
    assert opened == ["127.0.0.1:0"]
