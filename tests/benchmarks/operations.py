"""What statistics, drift and roll-outs cost a request: the service with and without them, in one run.

    python -m tests.benchmarks.operations --blocks 20 --requests 300

A service on loopback with a small release; beside it the operations as a process of their own, which reads
every event that the service stores. It is paused (SIGSTOP) in every second block, so that both kinds of
block see the same machine, the same store and the same neighbours. A block is lists and ratings in turn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving.events.store import EventStore
from serving.operation_settings import OperationSettings
from serving.operations_service import NICE, Operations
from tests.releases import make_release
from tests.serving.running import Running, running


def operate(events: str, tick_seconds: float) -> None:
    """The operations process: tick for ever, answer nobody. As polite as the deployment."""
    os.nice(NICE)
    made = Operations(
        EventStore(events),
        resolve=Path,
        notify=lambda _: None,
        settings=OperationSettings(window_seconds=60, tick_seconds=tick_seconds),
    )
    made.run(threading.Event(), failed=print)


def block(made: Running, requests: int, users: int, serial: int) -> list[float]:
    """Milliseconds of each list; a rating follows every one."""
    taken = []
    for number in range(requests):
        user = f"u{(serial * requests + number) % users}"
        began = time.perf_counter()
        listed = made.list(user)
        taken.append(1000 * (time.perf_counter() - began))
        event = f"{serial}-{number}"
        made.rate(user, listed["items"][0]["id"], 4.0, event, exposure_id=listed["exposure_id"])
    return taken


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.operations", description=__doc__)
    parser.add_argument("--blocks", type=int, default=20, help="blocks of each kind (default 20)")
    parser.add_argument("--requests", type=int, default=300, help="lists a block (default 300)")
    parser.add_argument("--tick", type=float, default=1.0, help="seconds between two looks (default 1)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        releases = {
            name: make_release(folder / name / "release", users=400, items=300, seed=seed)
            for seed, name in enumerate("ab")
        }
        with running(folder, releases) as made:
            made.service.store.save_experiment(
                made.service.settings.experiment.state(), expected=0, actor="benchmark"
            )
            context = multiprocessing.get_context("spawn")
            process = context.Process(
                target=operate, args=(made.service.settings.events, options.tick), daemon=True
            )
            process.start()
            assert process.pid is not None
            block(made, options.requests, 399, 0)
            figures: dict[str, list[list[float]]] = {"with": [], "without": []}
            for index in range(2 * options.blocks):
                kind = "with" if index % 2 else "without"
                os.kill(process.pid, signal.SIGCONT if kind == "with" else signal.SIGSTOP)
                figures[kind].append(block(made, options.requests, 399, index + 1))
            os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            process.join(10)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{options.blocks} blocks of {options.requests} lists"
    )
    print(f"{'operations':>11} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'median p99 of a block':>22}")
    for kind, blocks in figures.items():
        everything = np.concatenate(blocks)
        middle = np.median([np.percentile(entry, 99) for entry in blocks])
        cells = " ".join(f"{np.percentile(everything, share):>8.2f}" for share in (50, 90, 99))
        print(f"{kind:>11} {cells} {middle:>22.2f}")
    pairs = [
        np.percentile(entry, 99) - np.percentile(other, 99)
        for entry, other in zip(figures["with"], figures["without"], strict=True)
    ]
    spread = np.std(pairs, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else float("nan")
    print(
        f"p99 with - without, by pairs of blocks: {np.median(pairs):+.2f} ms "
        f"(median; mean {np.mean(pairs):+.2f} ± {spread:.2f} standard error)"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
