"""From a quote to pods that answer SSH: create, wait with deadlines and reasons, rent again where one is
dead.

The order of things is for money's sake: the state is written before each create call (its name) and after it
(its id); a create whose answer was lost is looked for by name and adopted; whatever raises here, no pod is
left. A pod is ready when its SSH server has said its first line, not when the service says RUNNING: that
comes minutes early, and on some hosts the network never comes at all.
"""

from __future__ import annotations

import dataclasses
import socket
import time
from dataclasses import dataclass
from typing import Any

from clusters import state as states
from clusters.cluster_errors import ClusterFailed
from clusters.provider import Log
from clusters.quote import Offer, Quote
from clusters.runpod.client import API, CreateUnknown, PodUnavailable, RunpodClient
from clusters.runpod.rest_schemas import Pod
from clusters.runpod.runpod_spec import RunpodSpec
from clusters.runpod.teardown import ENV_MARK, end_cluster, end_pods, pod_name
from clusters.state import ClusterState, Node

LEAST_USEFUL_HOURS = 0.05  # renting for less than three minutes buys nothing


@dataclass(frozen=True)
class Pace:
    """Seconds between polls, and for how long a lost create is searched for. Tests pass small ones."""

    poll_seconds: float = 3.0
    lost_create_seconds: float = 45.0


class Dead(ClusterFailed):
    """This pod will never work; another may."""


def rent_pods(
    client: RunpodClient, spec: RunpodSpec, state: ClusterState, quote: Quote, *, log: Log, pace: Pace
) -> ClusterState:
    """All pods of the cluster, ready, on the first GPU of the list that can be had.

    Raises:
        ClusterFailed: no GPU could be had, too many dead pods, or the cap would break. Nothing is left
        running.
    """
    refusals = []
    try:
        for offer in quote.usable:
            try:
                state = _rent_on(client, spec, state, offer, log=log, pace=pace)
                return states.update(state.name, batch_size=offer.batch_size)
            except PodUnavailable as problem:
                refusals.append(f"{offer.gpu}: {problem}")
                log(f"{offer.gpu} cannot be had ({problem}); next")
                state = end_cluster(client, state, poll_seconds=pace.poll_seconds)
    except BaseException:
        end_cluster(client, state, poll_seconds=pace.poll_seconds)
        raise
    raise ClusterFailed(
        "no GPU of the list could be had:\n  "
        + "\n  ".join(refusals)
        + "\nnothing is left running and nothing "
        "more is billed; add to gpus, free data_centers, or try again later"
    )


def _rent_on(
    client: RunpodClient, spec: RunpodSpec, state: ClusterState, offer: Offer, *, log: Log, pace: Pace
) -> ClusterState:
    failures = 0
    while True:
        state = states.load(state.name)
        for _ in range(spec.pods - len(state.nodes)):
            state = _create(client, spec, state, offer, log=log, pace=pace)
        try:
            return _wait_ready(client, spec, state, log=log, pace=pace)
        except Dead as problem:
            failures += 1
            log(f"{problem}; ended")
            if failures > spec.replacements:
                raise ClusterFailed(
                    f"{failures} pods never worked (last: {problem}); nothing is left running. Another data "
                    "centre or GPU may do better: data_centers and gpus in the YAML"
                ) from None
            log(f"renting another ({failures} of at most {spec.replacements})")


def _refuse_breaking_cap(spec: RunpodSpec, state: ClusterState, offer: Offer) -> None:
    """Before a create: would the cluster with one more pod leave time to be useful under the cap?"""
    now = time.time()
    rate = state.usd_per_hour + offer.usd_per_hour / spec.pods
    spent = state.spent_usd(now)
    hours_left = spec.max_hours - (now - state.created) / 3600
    if rate > spec.max_usd_per_hour * 1.001:
        raise ClusterFailed(f"${rate:.2f} an hour would break max_usd_per_hour ${spec.max_usd_per_hour:.2f}")
    if spent + rate * min(LEAST_USEFUL_HOURS, spec.max_hours) > spec.max_usd or hours_left <= 0:
        raise ClusterFailed(
            f"renting at ${rate:.2f} an hour would break the cap: ${spent:.2f} of ${spec.max_usd:.2f} spent, "
            f"{max(0.0, hours_left):.2f} of {spec.max_hours:g} hours left"
        )


def _create(
    client: RunpodClient, spec: RunpodSpec, state: ClusterState, offer: Offer, *, log: Log, pace: Pace
) -> ClusterState:
    """One pod, by one create call whose outcome is known in the end."""
    lost = 0
    while True:
        _refuse_breaking_cap(spec, state, offer)
        state = states.update(state.name, serial=state.serial + 1, phase="renting")
        name = pod_name(state.owner, state.name, state.serial)
        called = time.time()
        try:
            deadline = pod_deadline(spec, state, offer, now=called)
            body = create_body(spec, state, offer.gpu, name, client.url, deadline=deadline)
            pod: Pod | None = client.create(body)
        except CreateUnknown as problem:
            log(f"{problem}; looking for {name}, which may have been rented all the same")
            pod = _find_pod(client, name, pace)
            lost += 1
        if pod is None:
            if lost > 3:
                raise ClusterFailed(f"{lost} create calls in a row got no clean answer and rented nothing")
            continue
        usd = pod.usd_per_hour or offer.usd_per_hour / spec.pods
        state = states.record_node(state.name, Node(pod.id, name, usd, called, offer.gpu))
        log(f"rented {name}: {offer.gpu} x {spec.gpus_per_pod}, ${usd:.2f} an hour")
        if state.usd_per_hour > spec.max_usd_per_hour * 1.001:
            raise PodUnavailable(
                f"it costs ${state.usd_per_hour:.2f} an hour, above max_usd_per_hour", status=0
            )
        return state


def create_body(
    spec: RunpodSpec, state: ClusterState, gpu: str, name: str, api: str, *, deadline: float
) -> dict[str, Any]:
    """The request of one pod. No secret is in it: the public key is public, and the API's own is injected
    there.
    """
    key = (states.folder(state.name) / "key.pub").read_text().strip()
    body: dict[str, Any] = {
        "name": name,
        "image": spec.image,
        "cloud": spec.cloud,
        "gpu": {"id": gpu, "count": spec.gpus_per_pod},
        "disk": spec.disk_gb,
        "ports": ["22/tcp"],
        "startSsh": True,
        "env": {ENV_MARK: state.name, "PUBLIC_KEY": key},
        "args": dead_mans_switch(spec, api, deadline=deadline),
        "globalNetworking": spec.global_networking,
    }
    if spec.min_cuda:
        body["gpu"]["minCudaVersion"] = spec.min_cuda
    if spec.data_centers:
        body["dataCenterIds"] = list(spec.data_centers)
    if spec.volume:
        body["mounts"] = {"network": [{"volumeId": spec.volume.id, "path": spec.volume.path}]}
    return body


def pod_deadline(spec: RunpodSpec, state: ClusterState, offer: Offer, *, now: float) -> float:
    """When a pod created now must be gone whatever happens (seconds since the epoch): by hours or dollars."""
    by_money = now + (spec.max_usd - state.spent_usd(now)) / max(offer.usd_per_hour, 1e-9) * 3600
    return min(state.created + spec.max_hours * 3600, by_money)


def dead_mans_switch(
    spec: RunpodSpec,
    api: str = API,
    *,
    deadline: float,
    base: str = "/root/breakthrough",
    check_seconds: float = 10,
) -> str:
    """What the container runs before its own start, at its first start and at every restart.

    It ends the pod when no guard has come by SSH in time (this machine died after the create call) and at the
    deadline, which stands in the command itself and, once all machines are known, in the guard's own
    settings: RunPod restarts a container whose first process ended, with the guard gone and billing going on.
    A guard whose files survived the restart is started again. Nothing waits beyond the deadline: a guard that
    is alive has saved the run before it.
    """
    seconds = int((spec.boot_minutes + spec.network_minutes) * 60 + 600)
    guard = f"{base}/code/clusters/bootstrap/guard.py"
    return (
        f"bash -c '(S=$(($(date +%s)+{seconds})); D={int(deadline)}; while :; do N=$(date +%s); "
        f"if test -e {base}/guard.json; then "
        f'E=$(sed -n "s/.*\\"deadline\\": \\([0-9]*\\).*/\\1/p" {base}/guard.json); D=${{E:-$D}}; fi; '
        f"if test -e {base}/guard.pid && grep -q guard.py /proc/$(cat {base}/guard.pid)/cmdline; then :; "
        f"elif test -e {base}/guard.json && test -e {guard}; then HOME={base.rpartition('/')[0]} "
        f"python3 {guard} >>{base}/guard.log 2>&1 & echo $! >{base}/guard.pid; fi; "
        f"if test $N -ge $D; then break; fi; "
        f"if ! test -e {base}/guarded && test $N -ge $S; then break; fi; sleep {check_seconds:g}; done; "
        f'while :; do curl -s -X DELETE -H "Authorization: Bearer $RUNPOD_API_KEY" '
        f"{api}/v2/pods/$RUNPOD_POD_ID; sleep 30; done) >/dev/null 2>&1 & exec {spec.image_start}'"
    )


def _find_pod(client: RunpodClient, name: str, pace: Pace) -> Pod | None:
    """The pod of this name, for as long as a create may still be taking effect."""
    until = time.monotonic() + pace.lost_create_seconds
    while True:
        for pod in client.pods():
            if pod.name == name:
                return pod
        if time.monotonic() > until:
            return None
        time.sleep(pace.poll_seconds)


def _wait_ready(
    client: RunpodClient, spec: RunpodSpec, state: ClusterState, *, log: Log, pace: Pace
) -> ClusterState:
    """Every node answers SSH. A dead one is ended and moved to the gone ones before `Dead` is raised."""
    reported: dict[str, str] = {}
    running: dict[str, float] = {}  # when each was first seen with a runtime
    waiting = {node.id: node for node in state.nodes if not node.host}
    while waiting:
        pods = {pod.id: pod for pod in client.pods()}
        for node in list(waiting.values()):
            pod = pods.get(node.id)
            why = _not_ready(spec, node, pod, running)
            if not why:
                assert pod is not None
                ready = dataclasses.replace(
                    node, host=pod.ssh_host, port=pod.ssh_port, private_ip=pod.private_ip
                )
                state = states.record_node(state.name, ready)
                log(f"{node.name} answers SSH, {time.time() - node.created:.0f} s after the create call")
                del waiting[node.id]
                continue
            if why.startswith("dead"):
                end_pods(client, {node.id: node.name}, poll_seconds=pace.poll_seconds)
                states.record_ended(state.name, {node.id})
                raise Dead(f"{node.name} is {why}")
            if reported.get(node.id) != why:
                reported[node.id] = why
                log(f"{node.name}: {why}")
        if waiting:
            time.sleep(pace.poll_seconds)
    return state


def _not_ready(spec: RunpodSpec, node: Node, pod: Pod | None, running: dict[str, float]) -> str:
    """Why a pod is not ready yet, starting with "dead" when it never will be; empty when it is."""
    age = time.time() - node.created
    if pod is None or pod.status in ("EXITED", "ERROR", "TERMINATED"):
        status = "gone from the list" if pod is None else pod.status
        if pod is None and age < 30:
            return "not listed yet"
        return f"dead: {status} before it was ready"
    late = age > spec.boot_minutes * 60
    if pod.status != "RUNNING" or not pod.started:
        return f"dead: still {pod.status} after boot_minutes" if late else f"{pod.status}, pulling its image"
    if spec.global_networking and not pod.private_ip:
        return (
            "dead: no private address after boot_minutes"
            if late
            else "running, waiting for its private address"
        )
    since = running.setdefault(node.id, time.monotonic())
    if pod.ssh_host and speaks_ssh(pod.ssh_host, pod.ssh_port):
        return ""
    if time.monotonic() - since > spec.network_minutes * 60:
        return "dead: running, but its network is not (SSH silent for network_minutes)"
    return "running, waiting for SSH"


def speaks_ssh(host: str, port: int, *, timeout: float = 5.0) -> bool:
    """Whether an SSH server sends its banner. A port that only accepts is a proxy before a dead
    pod.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
