"""Replicas that follow the load: the meter and the rule by themselves, and the real server under a load that
rises and falls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from recsys.errors import InputError
from serving.app import build
from serving.autoscaling import DEMAND, LoadMeter, ReplicaLoad, desired_replicas
from serving.events.store import EventStore
from serving.settings import AutoscalingSettings, read_settings
from tests.serving.sockets import listening, tree
from tests.waiting import free_port, wait_for

SETTINGS = AutoscalingSettings(max_replicas=4, target_ongoing_requests=2.0, target_busy=0.5)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_meter_averages_requests_in_flight_over_time() -> None:
    wall, cpu = Clock(), Clock()
    headers: list[Any] = []
    closing = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        wall.now += 3.0
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    async def send(message: Any) -> None:
        headers.append(message["headers"])

    meter = LoadMeter(app, closing=lambda: closing, clock=wall, cpu=cpu)
    asyncio.run(meter({"type": "http"}, None, send))  # type: ignore[arg-type]
    wall.now, cpu.now = 110.0, 104.0
    assert meter.read() == ReplicaLoad(ongoing=pytest.approx(0.3), busy=pytest.approx(0.4))  # 3 s of 10
    wall.now = 120.0
    assert meter.read() == ReplicaLoad(ongoing=0.0, busy=0.0)
    closing = True
    asyncio.run(meter({"type": "http"}, None, send))  # type: ignore[arg-type]
    assert headers == [[(b"a", b"b")], [(b"a", b"b"), (b"connection", b"close")]]


@pytest.mark.parametrize(
    ("loads", "replicas"),
    [
        ([(0.0, 0.0)], 1),
        ([(1.9, 0.1)], 1),
        ([(2.1, 0.1)], 2),  # too many in flight
        ([(0.2, 0.6)], 2),  # hardly any in flight, but the core is in use
        ([(4.0, 0.9), (4.0, 0.9)], 4),
        ([(0.1, 0.1), (0.1, 0.1), (0.1, 0.1)], 1),
    ],
)
def test_as_many_replicas_as_their_demands_add_up_to(loads: list[tuple[float, float]], replicas: int) -> None:
    demands = {number: ReplicaLoad(*load).demand(SETTINGS) for number, load in enumerate(loads)}
    context = SimpleNamespace(aggregated_metrics={DEMAND: demands}, target_num_replicas=len(loads))
    assert desired_replicas(context) == (replicas, {})


def test_before_anybody_reported_the_number_stays() -> None:
    assert desired_replicas(SimpleNamespace(aggregated_metrics=None, target_num_replicas=3)) == (3, {})


def test_fewer_than_the_fewest_is_refused() -> None:
    with pytest.raises(InputError, match=r"max_replicas is 1, expected replicas \(2\) or more"):
        read_settings({"replicas": 2, "autoscaling": {"max_replicas": 1}}, where="the test")


@pytest.mark.system
def test_replicas_come_with_the_load_and_go_without_a_lost_event(
    releases: dict[str, Path], tmp_path: Path
) -> None:
    port = free_port()
    url, events = f"http://127.0.0.1:{port}", tmp_path / "events.db"
    arguments = {
        "drain_seconds": 2,
        "deadline_ms": 60_000,  # nothing is refused for being slow
        "autoscaling": {
            "max_replicas": 3,
            "target_busy": 0.1,
            "upscale_seconds": 1,
            "downscale_seconds": 2,
        },
    }
    application = {"import_path": "serving.app:build", "args": arguments}
    (tmp_path / "serve.yaml").write_text(json.dumps({"applications": [application]}))
    command = [sys.executable, "-m", "serving", "serve", "--config", str(tmp_path / "serve.yaml")]
    command += ["--release", str(releases["a"]), "--port", str(port), "--events", str(events)]
    environment = {**os.environ, "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    stop, exposed, failed = threading.Event(), list[str](), list[str]()

    def load() -> None:
        with httpx.Client(base_url=url, timeout=120, transport=httpx.HTTPTransport(retries=2)) as client:
            while not stop.is_set():
                answer = client.get("/v1/users/u1/recommendations?explain=true")
                if answer.status_code == 200:
                    exposed.append(answer.json()["exposure_id"])
                else:
                    failed.append(answer.text)
                time.sleep(0.005)  # enough of a load, and the new replicas' starts get a core

    def replicas() -> int:
        return len(listening(tree(process.pid)).get(("127.0.0.1", port), set()))

    threads = [threading.Thread(target=load) for _ in range(3)]
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("curl "):
                break
        assert replicas() == 1
        for thread in threads:
            thread.start()
        wait_for(lambda: replicas() == 3)
        stop.set()
        for thread in threads:
            thread.join(120)
        with httpx.Client(base_url=url, timeout=120) as quiet:
            # Somebody who stays while replicas go.
            def asked() -> bool:
                exposed.append(quiet.get("/v1/users/u2/recommendations").json()["exposure_id"])
                time.sleep(0.2)
                return replicas() == 1

            wait_for(asked)
        assert failed == []
        wait_for(lambda: set(exposed) <= {row.exposure_id for row in EventStore(str(events)).exposures()})
    finally:
        stop.set()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


def test_the_application_asks_serve_for_the_policy(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [{"name": "a", "release": str(releases["a"]), "share": 1.0}]
    fields = {"experiment": {"arms": arms}, "events": str(tmp_path / "events.db"), "replicas": 2}
    made = build({**fields, "autoscaling": {"max_replicas": 5}})
    config = made._bound_deployment._deployment_config.autoscaling_config
    assert (config.min_replicas, config.initial_replicas, config.max_replicas) == (2, 2, 5)
    assert config.policy.policy_function == "serving.autoscaling:desired_replicas"
