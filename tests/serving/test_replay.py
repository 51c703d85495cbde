"""Replayed traffic through a real server comes to what the releases say when they are asked directly."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.commands.replay import experiment_state
from serving.operations_service import Operations
from serving.release_registry import resolve
from serving.replay.drive import replay_traffic
from serving.replay.http_client import FAILURES, ApiConnection
from serving.replay.offline import offline_metrics
from serving.replay.traffic import Traffic
from serving.startup_checks import resolve_experiment
from tests.serving.running import running
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.slow


def made_up(count: int) -> Traffic:
    """Ratings of known and new people of the tiny release, some of items that it does not have."""
    random = np.random.default_rng(3)
    pairs = [(user, item) for user in range(70) for item in range(42)]
    chosen = random.permutation(len(pairs))[:count]
    return Traffic(
        users=np.array([f"u{pairs[row][0]}" for row in chosen]),
        items=np.array([f"i{pairs[row][1]}" for row in chosen]),
        values=(random.integers(1, 11, count) / 2).astype(np.float32),
        times=np.arange(count, dtype=np.int64),
    )


def read(operations: Operations) -> list[dict[str, Any]]:
    """The arms' figures with what has been stored since; the newest events settle for a moment first."""
    operations.tick()
    arms: list[dict[str, Any]] = operations.results("main")["arms"]
    return arms


def test_online_figures_are_the_offline_ones(releases: dict[str, Path], tmp_path: Path) -> None:
    traffic = made_up(400)
    with running(tmp_path, {"a": releases["a"], "b": releases["b"]}) as made:
        stored = resolve_experiment(made.service.settings)
        wait_for(lambda: made.service.deployment.state.revision == stored.revision)
        operations = Operations(made.service.store, resolve=resolve, notify=lambda text: None)
        driven = replay_traffic(made.url, traffic, events_per_minute=1_000_000)
        assert (driven.sent, driven.failed, len(driven.seconds)) == (400, {}, 400)
        wait_for(lambda: sum(arm["exposures"] for arm in read(operations)) >= len(traffic))
        online = {arm["arm"]: arm for arm in operations.results("main")["arms"]}
        offline = offline_metrics(experiment_state(made.url, "main"), traffic)
    for name, figures in offline.items():
        assert figures.answers > 100
        assert online[name]["rmse"] == pytest.approx(figures.rmse, abs=2e-4)
        assert online[name]["hit_rate"] == pytest.approx(figures.hit_rate, abs=1e-9)


def test_an_api_that_breaks_off_is_counted_not_raised() -> None:
    driven = replay_traffic(
        f"http://127.0.0.1:{free_port()}", made_up(5), events_per_minute=1_000_000, workers=2
    )
    assert driven.failed == {"ConnectionRefusedError": 5}


def test_a_connection_that_was_closed_between_requests_is_made_anew() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def one_answer_a_connection() -> None:
            for _ in range(2):
                accepted, _ = server.accept()
                with accepted:
                    asked.append(accepted.recv(65_536))
                    accepted.sendall(answer)

        thread = threading.Thread(target=one_answer_a_connection, daemon=True)
        thread.start()
        connection = ApiConnection(f"http://127.0.0.1:{server.getsockname()[1]}/behind", key="a-key")
        assert connection.request("GET", "/v1/popular") == (200, b"ok")
        assert connection.request("GET", "/v1/popular") == (200, b"ok")
        thread.join(120)
    assert all(request.startswith(b"GET /behind/v1/popular ") for request in asked)
    assert all(b"X-API-Key: a-key" in request for request in asked)
    with pytest.raises(FAILURES):
        connection.request("GET", "/v1/popular")
