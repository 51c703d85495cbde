"""Ending pods, and being sure of it: a pod counts as gone when the service no longer lists it as alive.

Only pods with our mark are touched: the name starts with `breakthrough-` and the env carries the same
cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from clusters.cluster_errors import ClusterError, ClusterFailed
from clusters.runpod.client import RunpodClient
from clusters.runpod.rest_schemas import Pod
from clusters.state import MARK, ClusterState, load, record_ended

ENV_MARK = "BREAKTHROUGH_CLUSTER"
PATIENCE_SECONDS = 120.0  # for the service to forget a pod that was ended


def pod_name(owner: str, cluster: str, serial: int) -> str:
    return f"{MARK}-{owner}-{cluster}-{serial}"


def is_marked(pod: Pod) -> bool:
    """Both marks, and they agree: a person's pod that happens to be called like ours is left alone."""
    parts = pod.name.split("-")
    return len(parts) == 4 and parts[0] == MARK and pod.env.get(ENV_MARK) == parts[2]


def marked_pods(client: RunpodClient, *, owner: str = "", cluster: str = "") -> list[Pod]:
    """Living or stopped pods with our mark (a stopped one still costs its disk)."""
    pods = [pod for pod in client.pods() if is_marked(pod) and pod.status != "TERMINATED"]
    if cluster:
        pods = [pod for pod in pods if pod.name.startswith(f"{MARK}-{owner}-{cluster}-")]
    return pods


def end_pods(
    client: RunpodClient,
    pods: dict[str, str],
    *,
    poll_seconds: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """End these pods (id to name) and wait until the service has forgotten them.

    Raises:
        ClusterFailed: some may still be there; it names each and the command that ends it by hand.
    """
    remaining = dict(pods)
    until = time.monotonic() + PATIENCE_SECONDS
    while remaining:
        why = "the service still lists them"
        for pod_id in list(remaining):
            try:
                client.terminate(pod_id)
                seen = client.pod(pod_id)
                if seen is None or seen.status == "TERMINATED":
                    del remaining[pod_id]
            except (ClusterError, ClusterFailed) as problem:
                why = str(problem)
        if remaining and time.monotonic() > until:
            raise ClusterFailed(manual_steps(client, remaining, why))
        if remaining:
            sleep(poll_seconds)


def manual_steps(client: RunpodClient, pods: dict[str, str], why: str) -> str:
    """Instructions where pods may still run: which, and how to end each."""
    lines = [f"{len(pods)} pod(s) may still be running ({why}); end them by hand:"]
    for pod_id, name in pods.items():
        lines.append(f"  # {name}")
        lines.append(
            f'  curl -X DELETE -H "Authorization: Bearer $RUNPOD_API_KEY" {client.url}/v2/pods/{pod_id}'
        )
    return "\n".join([*lines, "or, once the service answers: python -m clusters sweep"])


def end_cluster(client: RunpodClient, state: ClusterState, *, poll_seconds: float = 1.0) -> ClusterState:
    """End every pod of a cluster: those the service lists with its mark, and those our state knows.

    Raises:
        ClusterFailed: some may still be running; the message names them.
    """
    state = load(state.name)
    pods = {node.id: node.name for node in state.nodes}
    try:
        pods |= {pod.id: pod.name for pod in marked_pods(client, owner=state.owner, cluster=state.name)}
    except (ClusterError, ClusterFailed) as problem:
        if not state.serial:
            return state  # nothing was ever asked for
        raise ClusterFailed(manual_steps(client, pods, str(problem))) from None
    end_pods(client, pods, poll_seconds=poll_seconds)
    return record_ended(state.name, set(pods))
