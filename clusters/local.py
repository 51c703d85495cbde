"""This machine as a cluster: nothing to rent, nothing to end, nothing to pay."""

from __future__ import annotations

from typing import Any

from clusters.provider import Bill, Log, NodeState, SelfTermination
from clusters.quote import Quote
from clusters.spec import ClusterSpec, LocalSpec
from clusters.state import ClusterState


class LocalProvider:
    """The search starts its own Ray here."""

    spec_class: Any = LocalSpec

    def quote(self, spec: ClusterSpec, *, offline: bool = False) -> Quote:
        return Quote("this machine: nothing is rented, $0.00", (), 0, 0, 0.0, 0.0)

    def rent(self, spec: ClusterSpec, state: ClusterState, *, log: Log) -> ClusterState:
        return state

    def inspect(self, state: ClusterState) -> list[NodeState]:
        return []

    def end(self, state: ClusterState, *, log: Log) -> Bill:
        return Bill(0.0, 0.0, 0.0)

    def marked(self) -> list[NodeState]:
        return []

    def end_node(self, node: NodeState) -> None:
        raise AssertionError("nothing local is ever marked")

    def self_termination(self) -> SelfTermination:
        return SelfTermination()
