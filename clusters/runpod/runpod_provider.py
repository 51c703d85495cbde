"""RunPod as a `Provider`: quote from the catalogue, rent, inspect, end, and the bill on both sides."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from clusters.cluster_errors import ClusterError
from clusters.provider import Bill, Log, NodeState, SelfTermination
from clusters.quote import Prices, Quote, make_quote
from clusters.runpod.client import RunpodApiError, RunpodClient, api_url
from clusters.runpod.lifecycle import Pace, rent_pods
from clusters.runpod.rest_schemas import Pod
from clusters.runpod.runpod_spec import RunpodSpec
from clusters.runpod.teardown import end_cluster, end_pods, marked_pods
from clusters.spec import ClusterSpec
from clusters.state import ClusterState, load


class RunpodProvider:
    """Made from RUNPOD_API_KEY (and RUNPOD_API_URL, where the service is simulated) when first needed."""

    spec_class: Any = RunpodSpec

    def __init__(self, client: RunpodClient | None = None, *, pace: Pace | None = None) -> None:
        self._client = client
        self.pace = pace or Pace()

    @property
    def client(self) -> RunpodClient:
        if self._client is None:
            self._client = RunpodClient.from_environment()
        return self._client

    def quote(self, spec: ClusterSpec, *, offline: bool = False) -> Quote:
        """From the catalogue of now; from the dated file when offline, without a key, or out of reach."""
        assert isinstance(spec, RunpodSpec)
        dated = dated_prices(spec.cloud)
        if offline or (self._client is None and not os.environ.get("RUNPOD_API_KEY")):
            return make_quote(spec, dated)
        rows = self.client.gpus(count=spec.gpus_per_pod, cloud=spec.cloud)
        secure = spec.cloud == "SECURE"
        prices = {row.id: row.secure_usd if secure else row.community_usd for row in rows}
        most = {row.id: row.max_secure if secure else row.max_community for row in rows}
        offered = {gpu: usd for gpu, usd in prices.items() if usd > 0 and most[gpu] >= spec.gpus_per_pod}
        source = f"RunPod's catalogue, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        stock = {row.id: row.stock for row in rows}
        return make_quote(
            spec, Prices(source, offered, stock, dated.disk_usd_per_gb_month, market=spec.cloud)
        )

    def rent(self, spec: ClusterSpec, state: ClusterState, *, log: Log) -> ClusterState:
        assert isinstance(spec, RunpodSpec)
        return rent_pods(self.client, spec, state, self.quote(spec), log=log, pace=self.pace)

    def inspect(self, state: ClusterState) -> list[NodeState]:
        pods = marked_pods(self.client, owner=state.owner, cluster=state.name)
        return [_node_state(pod) for pod in pods]

    def end(self, state: ClusterState, *, log: Log) -> Bill:
        log(f"ending cluster {state.name} ({len(load(state.name).nodes)} pod(s) known)")
        return self.bill(end_cluster(self.client, state, poll_seconds=self.pace.poll_seconds))

    def bill(self, state: ClusterState) -> Bill:
        """Our count against the service's records. A bill that cannot be read is reported as none, not as a
        failure.
        """
        seconds = sum((node.ended or time.time()) - node.created for node in state.gone)
        theirs: float | None = None
        start = datetime.fromtimestamp(state.created - 3600, UTC).strftime("%Y-%m-%dT%H:00:00Z")
        try:
            each = [self.client.billed_usd(node.id, start=start) for node in state.gone]
            billed = [usd for usd in each if usd is not None]
            theirs = sum(billed) if billed else None
        except (RunpodApiError, ClusterError):
            theirs = None
        return Bill(state.spent_usd(time.time()), theirs, seconds)

    def self_termination(self) -> SelfTermination:
        """By action, then by DELETE, with the key that RunPod injects into each pod for this pod alone."""
        pod = api_url() + "/v2/pods/{id}"
        calls = (("POST", f"{pod}/action", '{"action": "terminate"}'), ("DELETE", pod, None))
        return SelfTermination("RUNPOD_API_KEY", "RUNPOD_POD_ID", calls)

    def marked(self) -> list[NodeState]:
        return [_node_state(pod) for pod in marked_pods(self.client)]

    def end_node(self, node: NodeState) -> None:
        if any(pod.id == node.id for pod in marked_pods(self.client)):
            end_pods(self.client, {node.id: node.name}, poll_seconds=self.pace.poll_seconds)


def _node_state(pod: Pod) -> NodeState:
    return NodeState(pod.id, pod.name, pod.alive, pod.status, pod.usd_per_hour)


def dated_prices(cloud: str) -> Prices:
    """Prices of clusters/prices.json for ``cloud`` (SECURE or COMMUNITY), in US dollars."""
    table = json.loads(resources.files("clusters").joinpath("prices.json").read_text())
    column = cloud.lower()
    gpus = {name: float(row[column]) for name, row in table["gpus"].items() if row[column] is not None}
    source = f"the price file of {table['date']} (not the catalogue of now)"
    return Prices(source, gpus, {}, float(table["disk_usd_per_gb_month"]), market=cloud)
