"""A closed-loop HTTP load generator: each connection asks again when its answer is there.

uvloop and a bare protocol, so that the client takes little of the cores that it shares with the server
(about 20 us a request).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import numpy as np
import uvloop

RATING = "rating"  # posts that make a user a changed one; they are not timed
# A turn is what a connection asks one after the other: (label, request).
Turn = Sequence[tuple[str, bytes]]


@dataclass
class Load:
    """What came of one cell: milliseconds of admitted lists and counts, by label."""

    seconds: float = 0.0
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)  # refused, failed, and fallback:LABEL

    def times(self, label: str | None = None) -> np.ndarray:
        """Milliseconds of one label's lists, or of all."""
        kept = [values for name, values in self.milliseconds.items() if label in (None, name)]
        return np.concatenate([np.array(values) for values in kept]) if kept else np.array([np.nan])

    @property
    def rate(self) -> float:
        """Admitted lists a second."""
        return sum(map(len, self.milliseconds.values())) / self.seconds

    def quantile(self, share: float, label: str | None = None) -> float:
        """Milliseconds below which ``share`` of the admitted lists lie."""
        return float(np.quantile(self.times(label), share))

    def fallbacks(self, label: str | None = None) -> float:
        """Share of the admitted lists that are not what they should have been."""
        missed = sum(
            n
            for name, n in self.counts.items()
            if name in (f"fallback:{label}",) or (label is None and name.startswith("fallback:"))
        )
        return missed / max(1, len(self.times(label)))


class _Connection(asyncio.Protocol):
    """One keep-alive connection; ``turn`` makes what it asks next."""

    def __init__(self, load: Load, turn: Callable[[], Turn], ends: float, pause: float) -> None:
        self._load, self._turn, self._ends, self._pause = load, turn, ends, pause
        self._left: list[tuple[str, bytes]] = []
        self._buffer = b""
        self._wanted = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._ask()

    def _ask(self) -> None:
        if not self._left:
            if perf_counter() >= self._ends or self._transport.is_closing():
                self._transport.close()
                return
            self._left = list(self._turn())
        self._label, request = self._left.pop(0)
        self._began = perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._wanted:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()  # some servers write Content-Length
            at = head.find(b"content-length: ")
            self._wanted = end + 4 + int(head[at + 16 :].partition(b"\r\n")[0])
        if len(self._buffer) < self._wanted:
            return
        answer, self._buffer, self._wanted = self._buffer, b"", 0
        milliseconds = 1000 * (perf_counter() - self._began)
        status, label = answer[9:12], self._label
        if status == b"503":
            self._load.counts["refused"] += 1
            asyncio.get_running_loop().call_later(self._pause, self._ask)
            return
        if status != b"200":
            self._load.counts["failed"] += 1
        elif label != RATING:
            self._load.milliseconds.setdefault(label, []).append(milliseconds)
            if b'"fallback":"' in answer:
                self._load.counts[f"fallback:{label}"] += 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left or self._buffer:
            self._load.counts["failed"] += 1
        if not self.done.done():
            self.done.set_result(None)


def measure(
    port: int, turn: Callable[[], Turn], *, connections: int, seconds: float, pause: float = 0.1
) -> Load:
    """Load from ``connections`` at once.

    Args:
        port: of 127.0.0.1.
        turn: makes a connection's next requests.
        connections: requests in flight.
        seconds: of load; requests that are open then are waited for.
        pause: seconds that a refused client waits before it asks again.
    """

    async def run() -> Load:
        load, loop = Load(), asyncio.get_running_loop()
        began = perf_counter()
        made = [
            (
                await loop.create_connection(
                    lambda: _Connection(load, turn, began + seconds, pause), "127.0.0.1", port
                )
            )[1]
            for _ in range(connections)
        ]
        await asyncio.wait_for(asyncio.gather(*(entry.done for entry in made)), seconds + 30)
        load.seconds = perf_counter() - began
        return load

    return uvloop.run(run())
