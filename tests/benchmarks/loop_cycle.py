"""The whole loop by its real commands, on real ratings: from what people did to a promoted release.

    python -m tests.benchmarks.loop_cycle --data ml-100k --out runs/loop-cycle

A champion is planted that can be beaten: it knows the oldest half of the ratings, and only biases and popular
items. It is served; the next quarter is in the event store, as what people did since; `python -m serving loop
--once` makes a data set, searches, asks the gate, and compares by interleaved lists while the newest quarter
is replayed as traffic: people ask for a list, then rate what they really rated. They never saw our lists, so
a preference is for what they were about to rate. Windows and stages are seconds in place of days.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.data.dataset import Dataset
from recsys.data.loading import load_dataset
from recsys.errors import InputError
from serving.domain import Feedback
from serving.events.store import EventStore
from serving.loop.loop_journal import LoopRecord, read_journal
from serving.replay.drive import replay_traffic
from serving.replay.http_client import ApiConnection
from serving.replay.traffic import Traffic

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 900.0
TRIALS = {
    "champion": [
        *("--trials", "2", "--epochs", "2", "--set", "families={bias: 1}", "--set", "points=[]"),
        *("--set", "baselines=[bias]", "--set", "list_families={popularity: 1}", "--set", "list_trials=1"),
    ],
    "loop": [
        *("--trials", "5", "--epochs", "4", "--set", "families={bayes_mf: 1}", "--set", "points=[bayes_mf]"),
        *("--set", "baselines=[bias]", "--set", "list_trials=8", "--set", "reference.epochs=4"),
    ],
}


def write_ratings(folder: Path, dataset: Dataset, rows: NDArray[np.int64]) -> None:
    """A folder that ``--data`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    users, items, values, times = _columns(dataset, rows)
    with (folder / "ratings.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "rating", "timestamp"])
        writer.writerows(zip(users, items, values, times, strict=True))


def feedback(dataset: Dataset, rows: NDArray[np.int64]) -> list[Feedback]:
    columns = zip(*_columns(dataset, rows), strict=True)
    return [
        Feedback(f"since-{number}", None, user, "rating", item, value, float(at))
        for number, (user, item, value, at) in enumerate(columns)
    ]


def traffic(dataset: Dataset, rows: NDArray[np.int64]) -> Traffic:
    users, items, values, times = _columns(dataset, rows)
    return Traffic(np.array(users), np.array(items), np.array(values, np.float32), np.array(times))


def _columns(
    dataset: Dataset, rows: NDArray[np.int64]
) -> tuple[list[str], list[str], list[float], list[int]]:
    ratings = dataset.ratings.take(rows)
    assert ratings.times is not None
    return (
        dataset.user_ids[ratings.users].tolist(),
        dataset.catalogue.ids[ratings.items].tolist(),
        ratings.values.tolist(),
        ratings.times.tolist(),
    )


def write_settings(out: Path, port: int) -> None:
    """serve.yaml and loop.yaml with seconds in place of days."""
    metrics = {
        "primary": "engagement",
        "engagement": {"events": {"click": 1, "rating": {"at_least": 4}}, "exposures": "served"},
    }
    champion = {"name": "main", "release": str(out / "champion" / "release"), "share": 1.0}
    server = {
        "port": port,
        "events": str(out / "events.db"),
        "experiment": {"name": "main", "arms": [champion], "metrics": metrics},
        "operations": {"window_seconds": 20},
    }
    application = {"name": "recommendations", "import_path": "serving.app:build", "args": server}
    (out / "serve.yaml").write_text(json.dumps({"applications": [application]}))
    settings = {
        "serve": str(out / "serve.yaml"),
        "folder": str(out / "loop"),
        "poll_seconds": 1,
        "triggers": {"new_ratings": 1000},
        "search": {"options": TRIALS["loop"], "max_hours": 0.15},
        "comparison": {"kind": "interleaved", "shadow_hours": 0.003, "longest_hours": 0.2},
        "rollout": {"hold_hours": 0.003, "minimum_exposures": 100, "longest_hours": 0.2},
    }
    (out / "loop.yaml").write_text(json.dumps(settings))


class Process:
    """A command with its output in OUT/NAME.log, ended with its group."""

    def __init__(self, out: Path, name: str, *words: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{out / 'mlflow.db'}"
        self.log = out / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Raises InputError with its last lines where it fails or does not end."""
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            self.end()
            last = "\n".join(self.log.read_text().splitlines()[-5:])
            raise InputError(f"{self.log} ended with {code}:\n{last}")

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)


def wait_until_ready(address: str, server: Process) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.process.poll() is None:
        try:
            if ApiConnection(address).request("GET", "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise InputError(f"the server did not become ready; see {server.log}")


def cycle(dataset: Dataset, out: Path, *, port: int, events_per_minute: float) -> list[LoopRecord]:
    """One cycle; its decisions. The server and the loop have ended when it returns."""
    assert dataset.ratings.times is not None
    order = np.argsort(dataset.ratings.times, kind="stable")
    base, since, newest = np.split(order, [len(order) // 2, 3 * len(order) // 4])
    write_ratings(out / "base", dataset, base)
    write_settings(out, port)
    command = [str(ROOT / "search" / "breakthrough.py"), "--data", str(out / "base")]
    Process(out, "champion", *command, "--out", str(out / "champion"), *TRIALS["champion"]).wait()
    server = Process(out, "server", "-m", "serving", "serve", "--config", str(out / "serve.yaml"))
    loop = None
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address, server)
        store = EventStore(str(out / "events.db"))
        store.add(feedback=feedback(dataset, since))
        loop = Process(out, "loop", "-m", "serving", "loop", "--once", "--config", str(out / "loop.yaml"))
        journal, stop, shown = out / "loop" / "journal.jsonl", threading.Event(), 0
        driver = threading.Thread(
            target=lambda: replay_traffic(
                address, traffic(dataset, newest), events_per_minute=events_per_minute, stop=stop
            )
        )
        while loop.process.poll() is None:
            decisions = [row for row in read_journal(journal) if row.kind == "decision"]
            for row in decisions[shown:]:
                print(f"{row.phase} -> {row.next}: {row.reason}", flush=True)
            shown = len(decisions)
            if driver.ident is None and decisions and decisions[-1].next == "shadow":
                driver.start()
            time.sleep(1)
        stop.set()
        loop.wait()
        return [row for row in read_journal(journal) if row.kind == "decision"]
    finally:
        for process in (loop, server):
            if process is not None:
                process.end()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.loop_cycle", description=__doc__)
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for everything")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--events-per-minute", type=float, default=3_000)
    options = parser.parse_args(arguments)
    out = options.out.absolute()
    if out.exists():
        parser.error(f"{out} exists; name a new folder")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            parser.error(f"port {options.port} is taken; name another with --port")
    out.mkdir(parents=True)
    decisions = cycle(
        load_dataset(options.data), out, port=options.port, events_per_minute=options.events_per_minute
    )
    for row in decisions:
        known = [name for name in ("answers", "users", "interval") if row.evidence.get(name) is not None]
        figures = {name: row.evidence[name] for name in known}
        print(f"{row.phase:>8} -> {row.next:<8} {row.reason} {figures or ''}")
    print(f"the page: python -m serving serve --config {out / 'serve.yaml'}, then /operations")
    return 0 if decisions and decisions[-1].phase == "promote" else 1


if __name__ == "__main__":
    raise SystemExit(main())
