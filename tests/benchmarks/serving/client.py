"""The load: asyncio, one keep-alive connection a worker, as little of a client as will do."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class Figures:
    """Milliseconds of each request, in any order; ``seconds`` they took together."""

    milliseconds: np.ndarray
    seconds: float
    failed: int
    sources: dict[str, int]

    def line(self) -> str:
        p50, p99, worst = np.percentile(self.milliseconds, [50, 99, 100])
        messages = " ".join(f"{name}:{count}" for name, count in sorted(self.sources.items()))
        rate = len(self.milliseconds) / self.seconds
        times = f"p50 {p50:6.2f}  p99 {p99:6.2f}  worst {worst:7.2f} ms"
        return f"{times}  {rate:6.0f}/s  failed {self.failed}  {messages}"


class Connection:
    """One keep-alive HTTP/1.1 connection, as little of a client as will do."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def known(users: int) -> Callable[[], bytes]:
    """Mixed users of the release, one in twenty unknown."""

    def make() -> bytes:
        user = random.randint(1, users) if random.random() < 0.95 else f"new-{random.random()}"
        return f"GET /v1/users/{user}/recommendations?count=10 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    return make


def session(items: int) -> Callable[[], bytes]:
    """A new user with ten ratings."""

    def make() -> bytes:
        rated = random.sample(range(1, items + 1), 10)
        body = json.dumps({"ratings": [{"item_id": str(item), "rating": 4.0} for item in rated]}).encode()
        head = "POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    return make


async def load(port: int, make: Callable[[], bytes], *, workers: int, seconds: float) -> Figures:
    taken: list[float] = []
    sources: dict[str, int] = {}
    failed = 0
    ends = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal failed
        connection = Connection(port)
        while time.perf_counter() < ends:
            request = make()
            began = time.perf_counter()
            try:
                status, body = await connection.ask(request)
            except (OSError, asyncio.IncompleteReadError):
                failed += 1
                connection.close()
                continue
            taken.append(1000 * (time.perf_counter() - began))
            failed += status != 200
            at = body.find(b'"source":"')
            source = body[at + 10 : body.find(b'"', at + 10)].decode() if at >= 0 else ""
            sources[source] = sources.get(source, 0) + 1
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    sources.pop("", None)
    return Figures(np.array(taken or [np.nan]), time.perf_counter() - began, failed, sources)
