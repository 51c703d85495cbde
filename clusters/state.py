"""What this machine remembers of a cluster: one folder each, for its owner's eyes only (0700, files 0600).

    ~/.local/state/breakthrough/       (XDG_STATE_HOME is honoured)
      owner                            a random id of this account on this machine, part of every pod's name
      clusters/NAME/state.json         ClusterState: rewritten whole, atomically, at every change
      clusters/NAME/{key,key.pub,known_hosts,token,watchdog.log}

Written before and after every create call, so that a killed driver leaves a trace that `--attach`, the
watchdog and `sweep` can read. Secrets are in files beside it, never in state.json.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from clusters.cluster_errors import ClusterError, ClusterFailed
from clusters.spec import ClusterSpec, parse_spec

MARK = "breakthrough"  # prefix of the name of every machine that we rent


@dataclass(frozen=True)
class Node:
    """A rented machine. `host`/`port` answer SSH once ready; `private_ip` is how nodes see each other."""

    id: str
    name: str
    usd_per_hour: float
    created: float  # seconds since the epoch, this machine's clock
    gpu: str = ""
    host: str = ""
    port: int = 0
    private_ip: str = ""
    ended: float | None = None


@dataclass(frozen=True)
class ClusterState:
    """Everything needed to find, watch and end a cluster from another process."""

    name: str
    owner: str
    spec: dict[str, Any]  # as in the YAML; validated again when read
    created: float
    out: str = ""  # the run folder on this machine, absolute
    run: str = ""  # the run folder's name on the head
    nodes: tuple[Node, ...] = ()
    gone: tuple[Node, ...] = ()  # ended, kept for the bill
    serial: int = 0  # create calls made, so that no name is used twice
    phase: str = "new"  # new, renting, starting, ready, searching, fetching, ended
    batch_size: int = 2048
    job: str = ""  # Ray's submission id
    arguments: tuple[str, ...] = ()
    detached: bool = False
    driver_pid: int = 0
    watchdog_pid: int = 0
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Node:
        if not self.nodes:
            raise ClusterFailed(f"cluster {self.name} has no machine (phase {self.phase})")
        return self.nodes[0]

    @property
    def cluster_spec(self) -> ClusterSpec:
        return parse_spec(self.spec)

    @property
    def usd_per_hour(self) -> float:
        return sum(node.usd_per_hour for node in self.nodes)

    def spent_usd(self, now: float) -> float:
        """Dollars so far by our count: every machine from its create call to its end."""
        return sum(
            node.usd_per_hour * max(0.0, (node.ended or now) - node.created) / 3600
            for node in self.nodes + self.gone
        )

    def deadline(self, *, max_usd: float, max_hours: float, now: float) -> float:
        """When the cluster must be gone (seconds since the epoch): by hours, or dollars at this rate."""
        by_hours = self.created + max_hours * 3600
        if self.usd_per_hour <= 0:
            return by_hours
        return min(by_hours, now + (max_usd - self.spent_usd(now)) / self.usd_per_hour * 3600)


def state_root() -> Path:
    """The folder of all clusters of this account, made when missing."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    root = base / MARK
    (root / "clusters").mkdir(parents=True, exist_ok=True, mode=0o700)
    return root


def owner_id() -> str:
    """A random id of this account on this machine; made once."""
    path = state_root() / "owner"
    if not path.exists():
        write_private(path, secrets.token_hex(4))
    return path.read_text().strip()


def folder(name: str) -> Path:
    """A cluster's folder, made when missing."""
    if not re.fullmatch(r"[a-z0-9]{1,20}", name):
        raise ClusterError(f"{name!r} is not a cluster's name; `python -m clusters status` lists them")
    path = state_root() / "clusters" / name
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only at every moment."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(temporary, path)


def save(state: ClusterState) -> ClusterState:
    write_private(folder(state.name) / "state.json", json.dumps(dataclasses.asdict(state), indent=1))
    return state


def load(name: str) -> ClusterState:
    """A cluster's state.

    Raises:
        ClusterError: no such cluster on this machine.
    """
    path = state_root() / "clusters" / name / "state.json"
    if not path.exists():
        raise ClusterError(f"no cluster {name!r} on this machine; `python -m clusters status` lists them")
    return TypeAdapter(ClusterState).validate_json(path.read_bytes())


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time changes a cluster's state (the driver and the watchdog both do)."""
    handle = os.open(folder(name) / "lock", os.O_CREAT | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def update(name: str, **changes: Any) -> ClusterState:
    """Read, change and write one cluster's state under its lock."""
    with locked(name):
        return save(dataclasses.replace(load(name), **changes))


def record_node(name: str, node: Node) -> ClusterState:
    """Add a machine, or replace its entry."""
    with locked(name):
        state = load(name)
        nodes = {old.id: old for old in state.nodes} | {node.id: node}
        return save(dataclasses.replace(state, nodes=tuple(nodes.values())))


def record_ended(name: str, ids: set[str], *, now: float | None = None) -> ClusterState:
    """Move machines to the ended ones, with the time for the bill."""
    with locked(name):
        state = load(name)
        when = time.time() if now is None else now
        ended = tuple(dataclasses.replace(node, ended=when) for node in state.nodes if node.id in ids)
        running = tuple(node for node in state.nodes if node.id not in ids)
        return save(dataclasses.replace(state, nodes=running, gone=state.gone + ended))


def all_states() -> list[ClusterState]:
    """Every cluster this machine remembers, newest first."""
    clusters = [load(path.parent.name) for path in (state_root() / "clusters").glob("*/state.json")]
    return sorted(clusters, key=lambda state: -state.created)


def create(spec: ClusterSpec, *, out: Path | None = None) -> ClusterState:
    """A new cluster's state, before anything is rented."""
    name = "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(6))
    state = ClusterState(
        name=name,
        owner=owner_id(),
        spec=spec.model_dump(mode="json"),
        created=time.time(),
        out=str(out.resolve()) if out else "",
        run=out.name if out else "",
        driver_pid=os.getpid(),
    )
    return save(state)
