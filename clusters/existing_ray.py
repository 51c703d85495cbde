"""A Ray cluster that is already there. It is joined, never started and never ended: it is somebody's."""

from __future__ import annotations

import socket
from typing import Any

from clusters.cluster_errors import ClusterError
from clusters.local import LocalProvider
from clusters.provider import Log
from clusters.quote import Quote
from clusters.spec import AddressSpec, ClusterSpec
from clusters.state import ClusterState


class ExistingRayProvider(LocalProvider):
    """Like this machine, but the search's driver joins the cluster at an address."""

    spec_class: Any = AddressSpec

    def quote(self, spec: ClusterSpec, *, offline: bool = False) -> Quote:
        assert isinstance(spec, AddressSpec)
        return Quote(f"the Ray cluster at {spec.address}: nothing is rented, $0.00", (), 0, 0, 0.0, 0.0)

    def rent(self, spec: ClusterSpec, state: ClusterState, *, log: Log) -> ClusterState:
        """Only a look whether it is there, so that a wrong address is told at once and not after Ray's
        timeout.

        Raises:
            ClusterError: nobody listens at the address.
        """
        assert isinstance(spec, AddressSpec)
        if spec.address != "auto":
            host, port = spec.address.rsplit(":", 1)
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except OSError as problem:
                raise ClusterError(
                    f"nobody answers at {spec.address} ({problem}); expected the head's GCS, host:port, 6379 "
                    "unless said otherwise, in reach of this machine. Is the cluster up, RAY_AUTH_TOKEN set?"
                ) from None
        return state
