"""The account behind the API: pods with a life of their own, prices, faults on demand, and the ledger."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from tests.clusters.played.request_schemas import CreatePod

CATALOGUE = {
    "NVIDIA RTX A6000": (0.53, 0.37, 48),
    "NVIDIA RTX 6000 Ada Generation": (0.85, 0.76, 48),
    "NVIDIA A100 80GB PCIe": (1.39, 1.21, 80),
    "NVIDIA GeForce RTX 4090": (0.74, 0.44, 24),
}
CENTRES = ("EU-RO-1", "US-KS-2")


@dataclass
class Fault:
    """What one matching call meets, `times` times. Kinds: status, hang, cut, drop, rent_then_error,
    rent_then_hang.
    """

    method: str
    path: str  # a regular expression, matched whole
    kind: str
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 5.0


@dataclass
class PlayedPod:
    """One pod. `life` is how it behaves: fine, never_starts, dead_network, error_at_start."""

    id: str
    request: CreatePod
    usd_per_hour: float
    created: float
    key: str
    life: str = "fine"
    status: str = "PROVISIONING"
    host: str = ""
    port: int = 0
    private_ip: str = ""
    started: float | None = None
    ended: float | None = None
    ended_by: str = ""

    def usd(self, now: float) -> float:
        return self.usd_per_hour * ((self.ended or now) - self.created) / 3600


class Machines(Protocol):
    """What stands behind the pods."""

    def boot(self, pod: PlayedPod) -> None:
        """Make the machine; sets host, port and private_ip."""

    def stop(self, pod: PlayedPod) -> None:
        """The machine is gone, at once."""


class Cloud:
    """One account. Thread-safe; `changed` wakes who waits for a pod to end."""

    def __init__(self, machines: Machines, *, boot_seconds: float = 0.2) -> None:
        self.machines = machines
        self.boot_seconds = boot_seconds
        self.account_key = "rpa_" + secrets.token_hex(16)
        self.pods: dict[str, PlayedPod] = {}
        self.faults: list[Fault] = []
        self.lives: list[str] = []  # of the next pods, in order; fine when empty
        self.capacity: dict[str, int] = {}  # by GPU; endless where not named
        self.calls: list[tuple[str, str, int]] = []  # method, path, status
        self.page_size = 0  # pods in one page of the listing; 0: all in one
        self.trouble: list[str] = []  # of the play itself
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.fullmatch(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def create(self, request: CreatePod) -> PlayedPod | str:
        """A new pod, or why it cannot be placed."""
        with self.lock:
            if (request.gpu is None) == (request.cpu is None):
                return "exactly one of gpu or cpu must be set"
            assert request.gpu is not None
            if request.gpu.id not in CATALOGUE:
                return f"gpu type {request.gpu.id} not found"
            if request.globalNetworking and request.cloud != "SECURE":
                return "global networking requires secure cloud"
            if request.gpu.allowedCudaVersions and request.gpu.minCudaVersion:
                return "allowedCudaVersions and minCudaVersion are mutually exclusive"
            if bad := [centre for centre in request.dataCenterIds if centre not in CENTRES]:
                return f"unknown data center {bad[0]}"
            if self.capacity.get(request.gpu.id, 1) <= 0:
                return "There are no longer any instances available with the requested specifications."
            if request.gpu.id in self.capacity:
                self.capacity[request.gpu.id] -= 1
            secure, community, _ = CATALOGUE[request.gpu.id]
            each = secure if request.cloud == "SECURE" else community
            pod = PlayedPod(
                id=f"pod{next(self.numbers)}{secrets.token_hex(4)}",
                request=request,
                usd_per_hour=each * request.gpu.count,
                created=time.time(),
                key="rpa_pod_" + secrets.token_hex(16),
                life=self.lives.pop(0) if self.lives else "fine",
            )
            self.pods[pod.id] = pod
        threading.Thread(target=self._live, args=(pod,), daemon=True).start()
        return pod

    def _live(self, pod: PlayedPod) -> None:
        """RUNNING comes before the container does, as it does there."""
        steps: list[tuple[float, Callable[[], None]]] = [
            (0.3, lambda: setattr(pod, "status", "STARTING")),
            (0.4, lambda: setattr(pod, "status", "RUNNING")),
            (0.3, lambda: self._boot(pod)),
        ]
        if pod.life == "never_starts":
            steps = steps[:1]
        if pod.life == "error_at_start":
            steps = [steps[0], (0.4, lambda: setattr(pod, "status", "ERROR"))]
        for share, step in steps:
            time.sleep(share * self.boot_seconds)
            with self.lock:
                if pod.ended:
                    return
            step()

    def _boot(self, pod: PlayedPod) -> None:
        if pod.life == "dead_network":
            pod.host, pod.port = "127.0.0.1", 9  # nobody listens on the discard port
        else:
            try:
                self.machines.boot(pod)
            except Exception as problem:
                self.trouble.append(f"{pod.id} could not be made: {problem}")
                pod.status = "ERROR"
                return
        with self.lock:
            if not pod.ended:
                pod.started = time.time()
                return
        self.machines.stop(pod)

    def end(self, pod: PlayedPod, *, by: str) -> None:
        """Terminated for good, by whom."""
        with self.lock:
            if pod.ended and pod.status == "TERMINATED":
                return
            first = pod.ended is None
            pod.status = "TERMINATED"
            if first:
                pod.ended, pod.ended_by = time.time(), by
                if pod.request.gpu and pod.request.gpu.id in self.capacity:
                    self.capacity[pod.request.gpu.id] += 1
        if first and pod.started:
            self.machines.stop(pod)

    def die(self, pod: PlayedPod, *, vanish: bool = False) -> None:
        """The machine dies; the pod stays listed as EXITED (billing stops), or is forgotten altogether."""
        with self.lock:
            pod.ended, pod.ended_by = time.time(), "died"
            pod.status = "TERMINATED" if vanish else "EXITED"
        self.machines.stop(pod)

    def living(self) -> list[PlayedPod]:
        """Pods that are billed now."""
        with self.lock:
            return [pod for pod in self.pods.values() if pod.ended is None]

    def ledger(self) -> list[dict[str, Any]]:
        """Every pod ever created: name, seconds, dollars, and who ended it."""
        now = time.time()
        return [
            {
                "pod": pod.request.name,
                "id": pod.id,
                "gpu": pod.request.gpu.id if pod.request.gpu else "",
                "seconds": round((pod.ended or now) - pod.created, 1),
                "usd": round(pod.usd(now), 6),
                "status": pod.status,
                "ended_by": pod.ended_by or "STILL RUNNING",
            }
            for pod in self.pods.values()
        ]

    def shown(self, pod: PlayedPod) -> dict[str, Any]:
        """A pod as the API shows it."""
        direct = None
        if pod.started and pod.host:
            command = f"ssh root@{pod.host} -p {pod.port}"
            direct = {"host": pod.host, "port": pod.port, "username": "root", "command": command}
        if pod.life == "dead_network" and pod.started:
            direct = {"host": pod.host, "port": pod.port, "username": "root", "command": ""}
        request = pod.request
        network: dict[str, Any] = {"enabled": request.globalNetworking}
        if request.globalNetworking and pod.private_ip:
            network |= {"ip": pod.private_ip, "internalDns": f"{pod.id}.runpod.internal"}
        running = pod.status == "RUNNING"
        return {
            "id": pod.id,
            "name": request.name,
            "status": pod.status,
            "actions": ["stop", "terminate"],
            "image": request.image,
            "args": request.args,
            "disk": request.disk,
            "mounts": request.mounts.model_dump(exclude_none=True) if request.mounts else {},
            "ports": request.ports,
            "env": request.env,
            "registry": None,
            "gpu": request.gpu.model_dump(include={"id", "count"}) if request.gpu else None,
            "cloud": request.cloud,
            "dataCenterId": (request.dataCenterIds or [CENTRES[0]])[0],
            "cudaVersion": "12.8",
            "ssh": {"proxy": None, "direct": direct if running else None},
            "template": None,
            "cost": pod.usd_per_hour if pod.ended is None else 0.0,
            "locked": False,
            "globalNetworking": network,
            "runtime": {"uptime": int(time.time() - pod.started)} if running and pod.started else None,
            "createdAt": _stamp(pod.created),
            "startedAt": _stamp(pod.started) if pod.started else None,
        }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
