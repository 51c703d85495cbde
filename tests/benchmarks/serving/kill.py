"""Load while a replica is killed with SIGKILL: requests that broke off, how long, and events lost."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from pathlib import Path

from serving.events.store import EventStore
from tests.benchmarks.serving.client import Connection, known
from tests.benchmarks.serving.programs import Program

WORKERS = 8
BEFORE, AFTER = 5.0, 25.0  # seconds of load on both sides of the kill


def clicked(event: str) -> bytes:
    body = json.dumps({"events": [{"event_id": event, "kind": "click", "user_id": "1", "item_id": "1"}]})
    head = "POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def under_load(program: Program, users: int) -> tuple[dict[str, int], list[str], float]:
    """(counts, acknowledged event ids, seconds from the kill to the last request that broke off)."""
    counts = {"answered": 0, "broke off": 0, "refused": 0}
    acknowledged: list[str] = []
    ends = time.perf_counter() + BEFORE + AFTER
    killed = last_broken = 0.0

    async def work(number: int) -> None:
        nonlocal last_broken
        connection, make, turn = Connection(program.port), known(users), 0
        while time.perf_counter() < ends:
            turn += 1
            event = f"{number}-{turn}" if turn % 2 else ""
            try:
                status, _ = await connection.ask(clicked(event) if event else make())
            except (OSError, asyncio.IncompleteReadError):
                connection.close()
                counts["broke off"] += 1
                last_broken = time.perf_counter()
                await asyncio.sleep(0.05)
                continue
            counts["answered" if status == 200 else "refused"] += 1
            if event and status == 200:
                acknowledged.append(event)
        connection.close()

    async def kill() -> None:
        nonlocal killed
        await asyncio.sleep(BEFORE)
        killed = time.perf_counter()
        os.kill(min(program.replicas()), signal.SIGKILL)

    await asyncio.gather(kill(), *(work(number) for number in range(WORKERS)))
    return counts, acknowledged, max(last_broken - killed, 0.0)


def under_kill(program: Program, events: Path, options: argparse.Namespace) -> None:
    """Every second request posts a click; one that was acknowledged and is not stored is lost."""
    counts, acknowledged, seconds = asyncio.run(under_load(program, options.users))
    stored = {row.event_id for row in EventStore(str(events)).feedback()}
    messages = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(
        f"kill -9 of one of {options.replicas} replica(s) at c={WORKERS}: {messages}; answers again after "
        f"{seconds:.1f} s; {len(acknowledged)} clicks acknowledged, {len(set(acknowledged) - stored)} lost"
    )
