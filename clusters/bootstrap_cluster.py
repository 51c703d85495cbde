"""From machines that answer SSH to a Ray cluster with our code on it.

Each node gets the code once (one archive through stdin), then runs clusters/bootstrap/node.py: guard first,
then what packages the image lacks, then Ray. The head is a worker too. All nodes do this at the same time;
a worker waits for the head's Ray by itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clusters import state as states
from clusters.budget_args import saving_seconds
from clusters.cluster_errors import ClusterFailed, GpuNotSeen, SshFailed
from clusters.jobs import Jobs
from clusters.provider import Log, SelfTermination
from clusters.spec import RentedSpec
from clusters.ssh import Ssh
from clusters.state import ClusterState, Node
from clusters.upload import Archive, pack_code

BASE = "breakthrough"  # folder in the home of root on a node; bootstrap/*.py know it too
CODE = f"{BASE}/code"
PACKAGES_SECONDS = 1500.0
# Secrets of this machine that a search may need; sent only where they are set, as a 0600 file through stdin.
SENT = (
    "DISCORD_WEBHOOK_URL",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)


NOT_SEEN_HELP = (
    "It is ended, for it would train on the CPU at the GPU's price. Check image and min_cuda in the YAML, or "
    "set require_gpu: false to accept such a machine"
)


def ray_token(cluster: str) -> str:
    """The cluster's Ray token: made once, 0600."""
    path = states.folder(cluster) / "token"
    if not path.exists():
        states.write_private(path, secrets.token_hex(32))
    return path.read_text()


def sent_secrets(spec: RentedSpec, *, speak_from_head: bool) -> dict[str, str]:
    """Variables of this machine for the search: the store's always, others only if the head speaks."""
    names = [*spec.store_env, *(SENT if speak_from_head else ())]
    variables = {name: os.environ[name] for name in names if os.environ.get(name)}
    if not variables.get("MLFLOW_TRACKING_URI", "http").startswith("http"):
        del variables["MLFLOW_TRACKING_URI"]  # a folder or database of this machine means nothing there
    return variables


def save_target(spec: RentedSpec, state: ClusterState) -> str:
    """Where a pod that ends itself saves the run; empty where the YAML names nothing."""
    if spec.volume:
        return f"{spec.volume.path}/breakthrough/{state.name}"
    return f"{spec.store.rstrip('/')}/{state.name}" if spec.store else ""


def guard_settings(
    spec: RentedSpec, state: ClusterState, node: Node, *, end: SelfTermination
) -> dict[str, Any]:
    """Settings of the guard inside a pod."""
    now = time.time()
    deadline = state.deadline(max_usd=spec.max_usd, max_hours=spec.max_hours, now=now)
    check_seconds = min(10.0, spec.silence_minutes * 6)
    return {
        "role": "head" if node.id == state.head.id else "worker",
        "head_ip": node_ip(state.head, state),
        "deadline": deadline,
        "silence_seconds": spec.silence_minutes * 60,
        "idle_seconds": spec.idle_minutes * 60,
        "detached": state.detached,
        "save_to": save_target(spec, state),
        "end": dataclasses.asdict(end),
        "check_seconds": check_seconds,
        "end_seconds": min(check_seconds, 0.01 * spec.max_hours * 3600),
        "save_seconds": saving_seconds(spec),
    }


def node_ip(node: Node, state: ClusterState) -> str:
    """The address of a node for Ray; the loopback address on a cluster of one."""
    return node.private_ip if len(state.nodes) > 1 else "127.0.0.1"


def bootstrap_cluster(
    spec: RentedSpec, state: ClusterState, *, end: SelfTermination, speak_from_head: bool, log: Log
) -> ClusterState:
    """Code, guard, packages and Ray on every node; returns when Ray counts all of them.

    Raises:
        ClusterFailed: a node did not start; its output is in the text.
    """
    started = time.monotonic()
    state = states.update(state.name, phase="starting")
    archive = pack_code()
    log(archive.text("code") + (f", to each of {len(state.nodes)} nodes" if len(state.nodes) > 1 else ""))
    token = ray_token(state.name)

    def settings(node: Node) -> bytes:
        common = {
            "role": "head" if node.id == state.head.id else "worker",
            "ip": node_ip(node, state),
            "head_ip": node_ip(state.head, state),
            "token": token,
            "cpus": spec.ray_cpus,
            "gpus": spec.gpus_per_pod if spec.require_gpu else 0,
            "object_store_bytes": int(spec.object_store_gb * 2**30) if spec.object_store_gb else None,
            "secrets": sent_secrets(spec, speak_from_head=speak_from_head),
            "guard": guard_settings(spec, state, node, end=end),
            "runs_at": save_target(spec, state) if spec.volume else "",
        }
        return json.dumps(common).encode()

    def prepare(node: Node) -> None:
        ssh = Ssh(state.name, node)
        send_code(ssh, archive)
        run_node(ssh, settings(node), log)

    in_parallel(prepare, state.nodes)
    resources = wait_for_nodes(state, token, log=log)
    if spec.require_gpu:
        require_ray_gpus(state, resources, per_pod=spec.gpus_per_pod)
    log(f"Ray is up on {len(state.nodes)} node(s), {time.monotonic() - started:.1f} s after SSH answered")
    return states.update(state.name, phase="ready", notes={**state.notes, "ready": f"{time.time():.0f}"})


def in_parallel(work: Callable[[Node], None], nodes: tuple[Node, ...]) -> None:
    pool = ThreadPoolExecutor(max_workers=max(1, len(nodes)))
    try:
        list(pool.map(work, nodes))
    finally:  # after a Ctrl-C, installing packages is not waited for: the pods are ended under it
        pool.shutdown(wait=False, cancel_futures=True)


def send_code(ssh: Ssh, archive: Archive, *, into: str = CODE) -> None:
    """Unpack an archive on the node. The first words to a fresh machine: tried a few times."""
    for attempt in range(4):
        try:
            ssh.run(f"umask 077 && mkdir -p {into} && tar xzf - -C {into}", stdin=archive.data, timeout=600)
            return
        except SshFailed as problem:
            if attempt == 3 or problem.status != 255:
                raise
            time.sleep(1 + attempt)


def run_node(ssh: Ssh, settings: bytes, log: Log) -> None:
    """Run node.py there and log its output."""
    output = ssh.run(
        f"cd {CODE} && python3 clusters/bootstrap/node.py", stdin=settings, timeout=PACKAGES_SECONDS
    )
    lines = output.strip().split("\n")
    facts: dict[str, Any] = {}
    for line in lines[:-1]:
        if line.startswith("FACTS "):
            facts = json.loads(line.removeprefix("FACTS "))
        else:
            log(f"{ssh.node.name}: {line}")
    if lines[-1] != "READY":
        raise ClusterFailed(f"{ssh.node.name} did not become a Ray node: {output[-500:]}")
    require_torch_gpus(ssh.node, facts)


def require_torch_gpus(node: Node, facts: dict[str, Any]) -> None:
    """Refuse a machine whose GPUs torch does not see: it would train on the CPU at the GPU's price.

    Raises:
        GpuNotSeen: fewer GPUs are seen than were rented.
    """
    expected, seen = int(facts.get("gpus_expected", 0)), int(facts.get("torch_gpus", 0))
    if seen < expected:
        raise GpuNotSeen(
            f"{node.name}: {expected} GPU(s) rented, torch {facts.get('torch', '?')} sees {seen} "
            f"({facts.get('why') or 'no reason given'}); expected all of them. {NOT_SEEN_HELP}"
        )


def require_ray_gpus(state: ClusterState, resources: list[dict[str, float]], *, per_pod: int) -> None:
    """Refuse a cluster on which Ray counts fewer GPUs than were rented.

    Raises:
        GpuNotSeen: with both counts.
    """
    expected, seen = per_pod * len(state.nodes), sum(row.get("GPU", 0.0) for row in resources)
    if seen < expected:
        raise GpuNotSeen(
            f"cluster {state.name}: {expected} GPU(s) rented, Ray counts {seen:g}; expected all of them. "
            f"{NOT_SEEN_HELP}"
        )


def wait_for_nodes(
    state: ClusterState, token: str, *, log: Log, seconds: float = 120
) -> list[dict[str, float]]:
    """Until the head counts every node; the resources of each as Ray sees them (CPU, GPU, ...).

    Raises:
        ClusterFailed: not within `seconds`.
    """
    head = Ssh(state.name, state.head)
    jobs = Jobs(head, token)
    until = time.monotonic() + seconds
    seen = -1
    nodes: list[dict[str, float]] = []
    while True:
        try:
            head.run(f"touch {BASE}/heartbeat")
            nodes = jobs.nodes()
            count = len(nodes)
        except ClusterFailed:
            if time.monotonic() > until:
                raise
            count = -1
        if count >= len(state.nodes):
            return nodes
        if count != seen:
            seen = count
            log(f"Ray counts {max(0, count)} of {len(state.nodes)} nodes")
        if time.monotonic() > until:
            raise ClusterFailed(f"Ray counts {count} of {len(state.nodes)} nodes after {seconds:.0f} s")
        time.sleep(0.5)
