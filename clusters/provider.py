"""What a place that lends machines must be able to do, and the list of those we know.

Adding one is a file with a class of this shape and its spec, and a line in registry.py; the contract
suite (tests/contracts/test_providers.py) then runs against it. A provider hands over machines that answer
SSH; everything after that (code, Ray, the job, fetching) is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from clusters.providers import PROVIDERS, provider_class
from clusters.quote import Quote
from clusters.spec import ClusterSpec
from clusters.state import ClusterState, Node

Log = Callable[[str], None]


@dataclass(frozen=True)
class NodeState:
    """One machine as its owner sees it now."""

    id: str
    name: str
    up: bool
    detail: str
    usd_per_hour: float = 0.0


@dataclass(frozen=True)
class Bill:
    """Dollars: our count, and the provider's (None where it has none yet)."""

    ours_usd: float
    theirs_usd: float | None
    seconds: float

    def text(self) -> str:
        theirs = "nothing yet (its records lag)" if self.theirs_usd is None else f"${self.theirs_usd:.4f}"
        minutes = f"{self.seconds / 60:.1f} min of pods"
        return f"bill: ${self.ours_usd:.4f} by our count over {minutes}; provider says {theirs}"


@dataclass(frozen=True)
class SelfTermination:
    """How a rented machine ends itself from inside, for the guard in it.

    ``key_variable`` and ``id_variable`` name variables of the container's own environment; ``{id}`` in a URL
    is replaced by the latter. ``calls`` are (method, URL, body or None), made in turn until the machine is
    gone; ``command`` is run first where the provider bills no machine that has shut down.
    """

    key_variable: str = ""
    id_variable: str = ""
    calls: tuple[tuple[str, str, str | None], ...] = ()
    command: tuple[str, ...] = ()


class Provider(Protocol):
    """Rents machines for one cluster at a time; touches no machine that does not carry our mark."""

    @property
    def spec_class(self) -> Any:
        """The pydantic class of this kind's YAML; a `RentedSpec` where machines are rented."""

    def self_termination(self) -> SelfTermination:
        """How a machine of this provider ends itself."""

    def quote(self, spec: ClusterSpec, *, offline: bool = False) -> Quote:
        """What it will cost; from stored prices when `offline` or without an account."""

    def rent(self, spec: ClusterSpec, state: ClusterState, *, log: Log) -> ClusterState:
        """Machines that answer SSH, noted in the state as they come; none is left when it raises."""

    def inspect(self, state: ClusterState) -> list[NodeState]:
        """Every machine of this cluster that exists now, whether our state knows it or not."""

    def end(self, state: ClusterState, *, log: Log) -> Bill:
        """End every machine of this cluster; may be called again. Raises when one could not be ended."""

    def marked(self) -> list[NodeState]:
        """Every machine with our mark on the account, of any cluster, for `sweep`."""

    def end_node(self, node: NodeState) -> None:
        """End one marked machine."""


def make_provider(kind: str) -> Provider:
    """The provider of this kind, made from the environment (keys come from nowhere else).

    Raises:
        ClusterError: no provider of this kind is registered.
    """
    provider: Provider = provider_class(kind)()
    return provider


__all__ = ["PROVIDERS", "Bill", "Log", "Node", "NodeState", "Provider", "SelfTermination", "make_provider"]
