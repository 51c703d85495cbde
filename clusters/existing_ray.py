"""A Ray cluster that is already there. It is joined, never started and never ended: it is somebody's."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
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
        """Check that the address answers, so that a wrong one is reported at once and not after Ray's
        timeout.

        Raises:
            ClusterError: the address does not answer.
        """
        assert isinstance(spec, AddressSpec)
        if spec.address != "auto":
            host, port = spec.address.rsplit(":", 1)
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except OSError as problem:
                raise ClusterError(
                    f"nobody answers at {spec.address} ({problem}); expected the head's GCS, host:port, 6379 "
                    "unless said otherwise, in reach of this machine"
                ) from None
        return state


def joining_environment(spec: AddressSpec, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a driver that joins the cluster of ``spec``.

    A head that is started plainly asks for a token wherever its own machine holds one, while a driver that
    names an address sends none unless RAY_AUTH_MODE says so: it is set where a token is found. A cluster
    without tokens takes no notice.
    """
    joined = dict(environment) | {"RECSYS_RAY_ADDRESS": spec.address}  # search/tune/ray_cluster.py reads it
    if "RAY_AUTH_MODE" not in joined and has_token(joined):
        joined["RAY_AUTH_MODE"] = "token"
    return joined


def has_token(environment: Mapping[str, str]) -> bool:
    """Whether Ray would find a token: in a variable, or in the file that one names, or in ~/.ray."""
    if environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH"):
        return True
    home = environment.get("HOME")
    return home is not None and (Path(home) / ".ray" / "auth_token").is_file()
