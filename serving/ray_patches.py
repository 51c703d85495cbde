"""What Ray Serve has no setting for: its private names stand here and nowhere else in serving.

``check_names`` runs before Ray is started: the promise that nothing listens wider than it must hangs on them.
"""

from __future__ import annotations

from typing import Any

import ray
import ray.serve._private.replica as serve_replica
import ray.util

from recsys.errors import InputError

GRPC_PORT = "add_port_to_grpc_server"  # of ``serve_replica``: opens a replica's port for other deployments


def check_names() -> None:
    """Refuse a Ray whose replicas would listen on all interfaces.

    Raises:
        InputError: the name that is gone, and the version that has it.
    """
    if not callable(getattr(serve_replica, GRPC_PORT, None)):
        raise InputError(
            f"Ray {ray.__version__} lacks ray.serve._private.replica.{GRPC_PORT}, without which replicas "
            "would listen on all interfaces; install the tested version: "
            "python -m pip install -c constraints.txt 'ray[serve]'"
        )


def bind_to_node_address() -> None:
    """Serve 2.60 opens a port for calls between deployments on all interfaces, which nothing of ours uses
    and no setting turns off. It is opened after this constructor: bind it to the address that the rest
    of Ray keeps to (127.0.0.1 for the embedded one). tests/serving/test_listening.py, test_served.py and
    test_deploy.py look at the result."""
    check_names()
    original = getattr(serve_replica, GRPC_PORT)
    address = ray.util.get_node_ip_address()

    def bound(server: Any, requested: str) -> Any:
        return original(server, requested.replace("[::]", f"[{address}]" if ":" in address else address))

    setattr(serve_replica, GRPC_PORT, bound)
