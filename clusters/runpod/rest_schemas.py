"""RunPod's answers as small dataclasses: only the fields we use, checked as they come in.

Unknown fields are ignored (the service adds some); a missing or misshapen one that we need is an error.
Shapes: https://docs.runpod.io/api-reference-v2 (OpenAPI of 2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from clusters.cluster_errors import ClusterFailed

ALIVE = ("PROVISIONING", "STARTING", "RUNNING")


@dataclass(frozen=True)
class Pod:
    """A pod as the service sees it. `ssh_host` is empty until its port is mapped; `started` when it has a
    runtime.
    """

    id: str
    name: str
    status: str  # PROVISIONING, STARTING, RUNNING, EXITED, ERROR, TERMINATED
    usd_per_hour: float
    env: dict[str, str]
    started: bool
    ssh_host: str
    ssh_port: int
    private_ip: str
    gpu: str

    @property
    def alive(self) -> bool:
        return self.status in ALIVE


@dataclass(frozen=True)
class GpuType:
    """A row of the catalogue: USD an hour for one GPU (0 where it is not offered on that cloud), and its
    stock.
    """

    id: str
    secure_usd: float
    community_usd: float
    stock: str
    max_secure: int
    max_community: int


def _misshapen(what: str, got: Any) -> ClusterFailed:
    return ClusterFailed(f"RunPod answered a {what} of an unexpected shape: {str(got)[:300]}")


def read_pod(data: Any) -> Pod:
    """A pod out of an answer's JSON.

    Raises:
        ClusterFailed: no id, name or status: nothing can be done with it safely.
    """
    try:
        direct = (data.get("ssh") or {}).get("direct") or {}
        runtime = data.get("runtime")
        return Pod(
            id=str(data["id"]),
            name=str(data["name"]),
            status=str(data["status"]),
            usd_per_hour=float(data.get("cost") or 0.0),
            env={str(key): str(value) for key, value in (data.get("env") or {}).items()},
            # RUNNING comes long before the container; a runtime with an uptime is the container's own sign.
            started=bool(runtime) and runtime.get("uptime") is not None,
            ssh_host=str(direct.get("host") or ""),
            ssh_port=int(direct.get("port") or 0),
            private_ip=str((data.get("globalNetworking") or {}).get("ip") or ""),
            gpu=str((data.get("gpu") or {}).get("id") or ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _misshapen("pod", data) from None


def read_pods(data: Any) -> list[Pod]:
    if not isinstance(data, dict) or not isinstance(data.get("pods"), list):
        raise _misshapen("list of pods", data)
    return [read_pod(pod) for pod in data["pods"]]


# Where a page may say what comes next, and the query parameter that asks for it.
NEXT_KEYS = {
    "nextCursor": "cursor",
    "next_cursor": "cursor",
    "nextPageToken": "pageToken",
    "next_page_token": "page_token",
    "nextToken": "nextToken",
    "next": "cursor",
}
PAGE_OBJECTS = ("pagination", "metadata", "meta", "pageInfo", "links")


def next_page(data: Any) -> dict[str, str] | None:
    """Query parameters of the page after this one; None where this is the last.

    The published description shows one page only, accounts with many pods get several: so the usual forms of
    a cursor are all read, and a page that says "more" without saying where is an error, not an end.

    Raises:
        ClusterFailed: more pods follow, and no cursor is there.
    """
    containers = [data, *(data[name] for name in PAGE_OBJECTS if isinstance(data.get(name), dict))]
    for container in containers:
        for key, parameter in NEXT_KEYS.items():
            value = container.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                return {"page" if key == "next" else parameter: str(value)}
            if isinstance(value, str) and value:
                query = dict(parse_qsl(urlsplit(value).query)) if "?" in value else {}
                return query or {parameter: value}
    if any(
        container.get(key) is True
        for container in containers
        for key in ("hasMore", "has_more", "hasNextPage")
    ):
        raise _misshapen("list of pods that goes on without a cursor", containers)
    return None


def read_gpus(data: Any) -> list[GpuType]:
    try:
        return [
            GpuType(
                id=str(row["id"]),
                # The catalogue lists placeholder prices for clouds that do not offer the GPU.
                secure_usd=float(row["price"]["secure"]) if row["secure"] else 0.0,
                community_usd=float(row["price"]["community"]) if row["community"] else 0.0,
                stock=str(row.get("availability") or ""),
                max_secure=int(row["maxCount"]["secure"]),
                max_community=int(row["maxCount"]["community"]),
            )
            for row in data["gpus"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _misshapen("catalogue", data) from None


def read_bill(data: Any) -> float | None:
    """Total USD of an answer of /v2/billing/pods; None where it has no record yet."""
    try:
        records = data["records"]
        return sum(float(record["totalAmount"]) for record in records) if records else None
    except (KeyError, TypeError, ValueError):
        raise _misshapen("bill", data) from None
