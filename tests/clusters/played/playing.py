"""A play with stand-in pods in one `with`: account, API, environment, a cluster's state, a quick provider."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clusters import state as states
from clusters.cluster_errors import ClusterFailed
from clusters.runpod.client import RunpodClient
from clusters.runpod.lifecycle import Pace
from clusters.runpod.runpod_provider import RunpodProvider
from clusters.runpod.runpod_spec import RunpodSpec
from clusters.state import ClusterState
from tests.clusters.played.api import PlayedApi
from tests.clusters.played.cloud import Cloud, Fault
from tests.clusters.played.standin import StandIns

FIELDS: dict[str, Any] = {
    "kind": "runpod",
    "gpus": [{"id": "NVIDIA RTX A6000"}, {"id": "NVIDIA GeForce RTX 4090", "batch_size": 1536}],
    "image": "image",
    "max_usd_per_hour": 2.0,
    "max_usd": 1.0,
    "max_hours": 1.0,
}


def a_spec(**changes: Any) -> RunpodSpec:
    """A RunPod cluster, with these fields changed."""
    return RunpodSpec.model_validate({**FIELDS, **changes})


@dataclass
class Play:
    """What a test holds: the account behind the API, and our side of it."""

    cloud: Cloud
    api: PlayedApi
    provider: RunpodProvider
    slept: list[float]
    said: list[str] = field(default_factory=list)

    def fault(self, method: str, path: str, kind: str, *, times: int = 1) -> None:
        """What calls meet next; a call that hangs is given up after a second."""
        if kind.endswith("hang"):
            self.provider.client.timeout = (10, 1)
        self.cloud.faults.append(Fault(method, path, kind, times=times, seconds=1.2))

    def state(self, spec: RunpodSpec) -> ClusterState:
        """A fresh cluster's state with a public key; no ssh-keygen needed."""
        made = states.create(spec)
        states.write_private(states.folder(made.name) / "key.pub", "ssh-ed25519 AAAA test\n")
        return made

    def rent(self, spec: RunpodSpec) -> ClusterState:
        """Rent; what a user would be told of a failure is among what was said."""
        try:
            return self.provider.rent(spec, self.state(spec), log=self.said.append)
        except ClusterFailed as problem:
            self.said.append(str(problem))
            raise


@contextmanager
def playing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Play until the block ends. Sleeps between tries are noted, not slept."""
    cloud = Cloud(StandIns(), boot_seconds=0.05)
    with PlayedApi(cloud) as api:
        monkeypatch.setenv("RUNPOD_API_URL", api.url)
        monkeypatch.setenv("RUNPOD_API_KEY", cloud.account_key)
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        slept: list[float] = []

        def nap(seconds: float) -> None:
            slept.append(seconds)
            time.sleep(0.001)

        client = RunpodClient(cloud.account_key, sleep=nap)
        provider = RunpodProvider(client, pace=Pace(poll_seconds=0.02, lost_create_seconds=0.4))
        yield Play(cloud, api, provider, slept)
