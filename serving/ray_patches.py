"""What Ray Serve has no setting for: its private names stand here and nowhere else in serving."""

from __future__ import annotations

from typing import Any

import ray.serve._private.replica as serve_replica
import ray.util


def bind_to_node_address() -> None:
    """Serve 2.60 opens a port for calls between deployments on all interfaces, which nothing of ours uses
    and no setting turns off. It is opened after this constructor: bind it to the address that the rest
    of Ray keeps to (127.0.0.1 for the embedded one). tests/serving/test_listening.py looks at the result."""
    original = getattr(serve_replica, "add_port_to_grpc_server", None)
    if original is None:
        return
    address = ray.util.get_node_ip_address()

    def bound(server: Any, wanted: str) -> Any:
        return original(server, wanted.replace("[::]", f"[{address}]" if ":" in address else address))

    serve_replica.add_port_to_grpc_server = bound
