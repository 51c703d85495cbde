"""Ray's job server, reached through an SSH tunnel with the cluster's token. Plain REST: the driver needs no
Ray.

https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
"""

from __future__ import annotations

import shlex
from typing import Any

import requests

from clusters.cluster_errors import ClusterFailed
from clusters.ssh import Ssh

PORT = 8265


class Jobs:
    """Submit and ask. A tunnel lives as long as one call, so that a dropped connection spoils nothing."""

    def __init__(self, head: Ssh, token: str) -> None:
        self.head = head
        self.headers = {"Authorization": f"Bearer {token}"}

    def submit(self, job: str, command: list[str], *, workdir: str) -> None:
        """Start a command as a Ray job on the head; it outlives this machine. No secret may stand in it."""
        entrypoint = f"cd {workdir} && exec {shlex.join(command)}"
        self._call("POST", "/api/jobs/", {"entrypoint": entrypoint, "submission_id": job})

    def status(self, job: str) -> str:
        """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED, as Ray sees it."""
        return str(self._call("GET", f"/api/jobs/{job}")["status"])

    def stop(self, job: str) -> None:
        self._call("POST", f"/api/jobs/{job}/stop")

    def nodes(self) -> list[dict[str, float]]:
        """Resources (CPU, GPU, ...) of each living node that the head counts, itself included."""
        answer = self._call("GET", "/api/v0/nodes?detail=1")
        rows = answer["data"]["result"]["result"]
        return [row.get("resources_total") or {} for row in rows if row["state"] == "ALIVE"]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        with self.head.tunnel(PORT) as url:
            try:
                answer = requests.request(method, url + path, json=body, headers=self.headers, timeout=60)
                answer.raise_for_status()
                return answer.json()
            except (requests.exceptions.RequestException, ValueError) as problem:
                raise ClusterFailed(f"Ray's job server on the head, {method} {path}: {problem}") from None
