"""Patches of Ray Serve's private names, the only uses of them in serving.

``check_names`` runs before Ray is started, since binding to loopback alone depends on them.
"""

from __future__ import annotations

from typing import Any

import ray
import ray.serve._private.replica as serve_replica
import ray.util

from recsys.errors import InputError

GRPC_PORT = "add_port_to_grpc_server"  # in ``serve_replica``: opens a replica's port for other deployments


def check_names() -> None:
    """Refuse a Ray whose replicas would listen on all interfaces.

    Raises:
        InputError: a name is missing.
    """
    if not callable(getattr(serve_replica, GRPC_PORT, None)):
        raise InputError(
            f"Ray {ray.__version__} lacks ray.serve._private.replica.{GRPC_PORT}, without which replicas "
            "would listen on all interfaces; install the tested version: "
            "python -m pip install -c constraints.txt 'ray[serve]'"
        )


def bind_to_node_address() -> None:
    """Bind a replica's gRPC port to the node's address (127.0.0.1 for the embedded Ray).

    Serve 2.60 opens it on all interfaces, for calls between deployments that we do not use, and has no
    setting to turn it off. tests/serving/test_listening.py, test_served.py and test_deploy.py check the
    result."""
    check_names()
    original = getattr(serve_replica, GRPC_PORT)
    address = ray.util.get_node_ip_address()

    def bound(server: Any, requested: str) -> Any:
        return original(server, requested.replace("[::]", f"[{address}]" if ":" in address else address))

    setattr(serve_replica, GRPC_PORT, bound)
