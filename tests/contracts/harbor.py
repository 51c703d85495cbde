"""A made-up provider, to show what adding one takes: this file, a registry line, and harbor.yaml beside it.

It rents berths of a harbour that exists in memory only. Nothing in clusters/ knows its name.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, ClassVar, Literal

from clusters import state as states
from clusters.provider import Bill, Log, NodeState, SelfTermination
from clusters.quote import Prices, Quote, make_quote
from clusters.spec import ClusterSpec, RentedSpec
from clusters.state import MARK, ClusterState, Node

PRICES = Prices("the harbour master's board", {"Crane 48": 0.40, "Crane 24": 0.25}, {}, 0.0)


class HarborSpec(RentedSpec):
    """Berths; `pier` is a key that only this provider has."""

    kind: Literal["harbor"]
    pier: str = "north"


class HarborProvider:
    """Machines are rows of `berths`, shared by all instances as an account would be."""

    spec_class: Any = HarborSpec
    berths: ClassVar[dict[str, NodeState]] = {}
    numbers: ClassVar[Any] = itertools.count(1)

    def self_termination(self) -> SelfTermination:
        return SelfTermination(
            "HARBOR_KEY", "HARBOR_BERTH", (("DELETE", "https://harbor.invalid/{id}", None),)
        )

    def quote(self, spec: ClusterSpec, *, offline: bool = False) -> Quote:
        assert isinstance(spec, HarborSpec)
        return make_quote(spec, PRICES)

    def rent(self, spec: ClusterSpec, state: ClusterState, *, log: Log) -> ClusterState:
        assert isinstance(spec, HarborSpec)
        offer = self.quote(spec).usable[0]
        for _ in range(spec.pods):
            number = next(self.numbers)
            called = time.time()
            state = states.update(state.name, serial=state.serial + 1, phase="renting")
            name = f"{MARK}-{state.owner}-{state.name}-{state.serial}"
            self.berths[f"b{number}"] = NodeState(f"b{number}", name, True, "MOORED", offer.usd_per_hour)
            usd = offer.usd_per_hour / spec.pods
            node = Node(f"b{number}", name, usd, called, offer.gpu, "127.0.0.1", 2200 + number, "127.0.0.1")
            state = states.record_node(state.name, node)
        return states.update(state.name, batch_size=offer.batch_size)

    def inspect(self, state: ClusterState) -> list[NodeState]:
        return [node for node in self.berths.values() if node.name.split("-")[2] == state.name]

    def end(self, state: ClusterState, *, log: Log) -> Bill:
        ids = {node.id for node in self.inspect(state)}
        for berth in ids:
            del self.berths[berth]
        state = states.record_ended(state.name, ids | {node.id for node in states.load(state.name).nodes})
        seconds = sum((node.ended or 0.0) - node.created for node in state.gone)
        return Bill(state.spent_usd(time.time()), None, seconds)

    def marked(self) -> list[NodeState]:
        return list(self.berths.values())

    def end_node(self, node: NodeState) -> None:
        self.berths.pop(node.id, None)
