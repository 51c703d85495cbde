"""The real command on an embedded Ray, with two replicas: what it prints, where it listens, what it
survives. One start for all of them."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.events.store import EventStore
from tests.serving.running import AS_ADMIN, arms_of
from tests.serving.sockets import listening, tree
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.slow

ENVIRONMENT = {"RECSYS_ADMIN_TOKEN": AS_ADMIN["authorization"].split()[1]}
TRIES = 10  # of a request whose connection broke off


class Served:
    """``said`` is what the command printed until it was ready."""

    def __init__(self, folder: Path, releases: dict[str, Path]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # A connection for each request: to either replica.
        self.client = httpx.Client(
            base_url=self.url, timeout=99, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self.events = folder / "events.db"
        words = ["serve", "--release", str(releases["a"]), "--arm", f"b={releases['b']}:0.5"]
        words += ["--port", str(self.port), "--replicas", "2", "--events", str(self.events)]
        application = {
            "import_path": "serving.app:build",
            "args": {"drain_seconds": 3, "deadline_ms": 60_000},
        }
        (folder / "serve.yaml").write_text(json.dumps({"applications": [application]}))
        words += ["--config", str(folder / "serve.yaml")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serving", *words],
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith("curl "):
                break

    @property
    def processes(self) -> set[int]:
        return tree(self.process.pid)

    @property
    def replicas(self) -> set[int]:
        return listening(self.processes).get(("127.0.0.1", self.port), set())


@pytest.fixture(scope="module")
def served(releases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"), releases)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.send_signal(signal.SIGTERM)
            made.process.wait(120)
        made.client.close()


def test_it_says_how_long_it_took_and_one_line_to_paste(served: Served) -> None:
    assert any(re.search(r"ready in [\d.]+ s \([\d.]+ s of it to start Ray\)", line) for line in served.said)
    curl = next(line for line in served.said if line.startswith("curl "))
    url = curl.split("'")[1]
    assert served.client.get(url).json()["source"] == "popular"  # user "1" is nobody here


def test_nothing_listens_wider_than_the_api(served: Served) -> None:
    positions = listening(served.processes)
    assert ("127.0.0.1", served.port) in positions
    assert len(positions) > 5  # Ray's own are among them
    assert {address for address, _ in positions if not ipaddress.ip_address(address).is_loopback} == set()


def test_both_replicas_answer_as_one(served: Served) -> None:
    assert len(served.replicas) == 2
    event = {"event_id": "first", "kind": "rating", "user_id": "newcomer", "item_id": "i3", "rating": 5}
    served.client.post("/v1/feedback", json={"events": [event]}).raise_for_status()
    url = "/v1/users/newcomer/recommendations"

    def asked() -> list[dict[str, Any]]:
        return [served.client.get(url).json() for _ in range(48)]

    # The other one reads the store a few times a second.
    wait_for(lambda: {answer["source"] for answer in asked()} == {"folded_in"})
    lists = asked()
    assert {(answer["source"], answer["fallback"]) for answer in lists} == {("folded_in", None)}
    assert len({tuple(item["id"] for item in answer["items"]) for answer in lists}) == 1
    text = served.client.get("/metrics").text
    assert "recsys_replicas 2.0" in text


def test_replicas_are_no_less_urgent_than_the_command(served: Served) -> None:
    """Ray's workers are nice by default, and a busy machine would make every list late."""
    for replica in served.replicas:
        assert os.getpriority(os.PRIO_PROCESS, replica) <= os.getpriority(os.PRIO_PROCESS, os.getpid())


def test_the_operations_process_answers(served: Served) -> None:
    served.client.get("/v1/users/u1/recommendations").raise_for_status()
    results = served.client.get("/v1/experiments/main/results")
    assert results.status_code == 200, results.text
    assert served.client.get("/v1/experiments/other/results").status_code == 404
    assert served.client.get("/operations").status_code == 200


def test_a_change_reaches_both(served: Served, releases: dict[str, Path]) -> None:
    state = served.client.get("/v1/experiments/main").json()
    arms = arms_of({"main": releases["a"], "b": releases["b"]}, 0.2, 0.8)
    body = {"revision": state["revision"], "arms": arms}
    served.client.put("/v1/experiments/main", json=body, headers=AS_ADMIN, timeout=120).raise_for_status()
    url = "/v1/about"
    wait_for(
        lambda: {served.client.get(url).json()["revision"] for _ in range(16)} == {state["revision"] + 1}
    )


def test_a_replica_killed_under_load_loses_no_event_and_comes_back(served: Served) -> None:
    """What is open on the killed one breaks off; asked again, everybody is answered, and everything that
    was answered or acknowledged is stored."""
    stop = threading.Event()
    exposed: list[str] = []
    acknowledged: list[str] = []
    broken: list[Exception] = []
    refused: list[httpx.Response] = []
    unanswered: list[str] = []

    def ask(client: httpx.Client, method: str, url: str, **more: Any) -> dict[str, Any] | None:
        for _ in range(TRIES):
            try:
                answer = client.request(method, url, **more)
            except httpx.TransportError as error:
                broken.append(error)
                time.sleep(0.2)  # the kernel takes a dead process's socket away in its own time
                continue
            if answer.status_code != 200:
                refused.append(answer)
                return None
            result: dict[str, Any] = answer.json()
            return result
        unanswered.append(url)
        return None

    def load(number: int) -> None:
        with httpx.Client(base_url=served.url, timeout=120) as client:
            n = 0
            while not stop.is_set():
                n += 1
                user = f"load-{number}-{n % 50}"
                shown = ask(client, "GET", f"/v1/users/{user}/recommendations")
                if shown is not None:
                    exposed.append(shown["exposure_id"])
                event = {"event_id": f"{number}-{n}", "kind": "click", "user_id": user, "item_id": "i1"}
                if ask(client, "POST", "/v1/feedback", json={"events": [event]}) is not None:
                    acknowledged.append(event["event_id"])

    threads = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(exposed) > 100)
    before = served.replicas
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(served.replicas - {victim}) == 2)
    answered = len(exposed)
    wait_for(lambda: len(exposed) > answered + 100, 60)  # with the new one
    stop.set()
    for thread in threads:
        thread.join()
    assert refused == []
    assert unanswered == []
    assert len(broken) <= TRIES * len(threads)
    store = EventStore(str(served.events))

    def missing() -> tuple[set[str], set[str]]:
        stored = {row.exposure_id for row in store.exposures()}
        return set(exposed) - stored, set(acknowledged) - {row.event_id for row in store.feedback()}

    wait_for(lambda: missing() == (set(), set()))


def test_it_ends_in_order_and_leaves_nothing(served: Served) -> None:
    """SIGTERM to the whole group, as service managers do: /readyz answers 503 first, no traceback."""
    processes = served.processes
    os.killpg(served.process.pid, signal.SIGTERM)
    ready = []
    with contextlib.suppress(httpx.TransportError):
        while len(ready) < 1_000 and 503 not in ready:
            ready.append(served.client.get("/readyz").status_code)
            time.sleep(0.02)
    said, _ = served.process.communicate(timeout=120)
    assert set(ready) <= {200, 503}
    assert ready[-1] == 503
    assert "stopping: finishing open requests\n" in said
    assert "Traceback" not in said
    assert served.process.returncode == 0
    wait_for(lambda: not any(Path(f"/proc/{process}/exe").exists() for process in processes))
    with pytest.raises(httpx.ConnectError):
        served.client.get("/")
