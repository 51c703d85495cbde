"""Items added and hidden while clients load two replicas: failed requests, and how soon each replica follows.

    python -m tests.benchmarks.catalogue --seconds 30 --clients 8 [--release FOLDER] [--json FILE]

Each replica is a process of its own with its own port, on one event store; Ray is left out. A change goes to
one replica and is looked for in both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import httpx
import numpy as np

from tests.releases import make_dataset, make_release, with_features
from tests.serving.running import ADMIN, AS_ADMIN, running
from tests.waiting import free_port

POLL_SECONDS = 0.01
REPLICAS = 2
NEW = {"genres": ["Drama"]}
EXPLORE = 0.2  # of the places: where added items are listed


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.catalogue", description=__doc__)
    made.add_argument("--seconds", type=float, default=30.0)
    made.add_argument("--clients", type=int, default=8)
    made.add_argument("--release", type=Path, help="default: a synthetic one of 943 people and 1,682 items")
    made.add_argument("--json", type=Path)
    made.add_argument("--replica", type=int, help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made


def serve(folder: Path, release: Path, port: int) -> None:
    """One replica, until its standard input ends."""
    arm = {"name": "a", "release": str(release), "share": 1.0, "explore": EXPLORE}
    with running(
        folder, {"a": release}, port=port, poll_seconds=0.2, deadline_ms=40, experiment={"arms": [arm]}
    ):
        print("ready", flush=True)
        sys.stdin.read()


class Load:
    """Clients that ask for lists; ``failures`` are answers that are none, ``milliseconds`` the others'."""

    def __init__(self, urls: list[str], users: list[str], clients: int) -> None:
        self.failures: list[str] = []
        self.milliseconds: list[float] = []
        self.leaked = 0
        self.with_added = 0
        self.gone: dict[str, float] = {}
        self._users = users
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(urls[n % len(urls)], n)) for n in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, client: int) -> None:
        number = client
        with httpx.Client(base_url=url, timeout=10) as session:
            while not self._stop.is_set():
                number += 7
                began = perf_counter()
                gone, user = set(self.gone), self._users[number % len(self._users)]
                try:
                    answer = session.get(f"/v1/users/{user}/recommendations")
                except httpx.HTTPError as error:
                    self.failures.append(type(error).__name__)
                    continue
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code} {answer.text[:200]}")
                    continue
                self.milliseconds.append(1000 * (perf_counter() - began))
                shown = {item["id"] for item in answer.json()["items"]}
                self.leaked += bool(gone & shown)
                self.with_added += any(name.startswith("new-") for name in shown)


def seconds_until(client: httpx.Client, path: str, status: int) -> float:
    """Until ``path`` answers with ``status``; at most 10."""
    began = monotonic()
    while client.get(path).status_code != status and monotonic() - began < 10:
        sleep(POLL_SECONDS)
    return monotonic() - began


def measure(urls: list[str], seconds: float, clients: int) -> dict[str, Any]:
    speakers = [httpx.Client(base_url=url, timeout=10) for url in urls]
    about = speakers[0].get("/v1/about").json()
    load = Load(urls, about["example_users"], clients)
    waits: list[float] = []
    changes, refused = 0, 0
    ends = monotonic() + seconds
    while monotonic() < ends:
        here = speakers[changes % REPLICAS]
        shown = here.get(f"/v1/users/{about['example_users'][changes % 10]}/recommendations").json()["items"]
        gone = shown[0]["id"]
        answers = [
            here.put(f"/v1/items/new-{changes}", json=NEW | {"title": f"New {changes}"}, headers=AS_ADMIN),
            here.delete(f"/v1/items/{gone}", headers=AS_ADMIN),
        ]
        refused += sum(answer.status_code != 200 for answer in answers)
        began = monotonic()
        for speaker in speakers:
            seconds_until(speaker, f"/v1/items/new-{changes}", 200)
            seconds_until(speaker, f"/v1/items/{gone}", 404)
        waits.append(monotonic() - began)
        load.gone[gone] = perf_counter()
        changes += 1
        sleep(0.2)
    load.stop()
    for speaker in speakers:
        speaker.close()
    return {
        "clients": clients,
        "lists": len(load.milliseconds),
        "failed": len(load.failures),
        "first_failures": load.failures[:3],
        "lists_with_a_hidden_item": load.leaked,
        "lists_with_an_added_item": load.with_added,
        "changes": 2 * changes,
        "changes_refused": refused,
        "seconds_until_in_both": {
            "median": round(float(np.median(waits)), 3),
            "max": round(float(np.max(waits)), 3),
        },
        "milliseconds_a_list": {
            name: round(float(np.percentile(load.milliseconds, level)), 1)
            for name, level in (("p50", 50), ("p99", 99))
        },
    }


def main() -> None:
    options = parser().parse_args()
    os.environ["RECSYS_ADMIN_TOKEN"] = ADMIN
    if options.replica is not None:
        serve(options.folder, options.release, options.replica)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = with_features(make_dataset(users=943, items=1682))
        release = options.release or make_release(folder / "release", users=943, items=1682, dataset=dataset)
        command = [sys.executable, "-m", "tests.benchmarks.catalogue", "--release", str(release)]
        ports = [free_port() for _ in range(REPLICAS)]
        replicas = [
            subprocess.Popen(
                [*command, "--folder", str(folder), "--replica", str(port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for port in ports
        ]
        try:
            for replica in replicas:
                assert replica.stdout is not None
                assert replica.stdout.readline() == b"ready\n"
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            figures = measure(urls, options.seconds, options.clients)
        finally:
            for replica in replicas:
                assert replica.stdin is not None
                replica.stdin.close()
                replica.wait(30)
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
