"""Sends traffic to a running service: for each rating a request for a list, then the rating as feedback.

A user's ratings keep their order (one worker sends all of them); across users the order is that of time, up
to concurrent requests. With one replica the online figures equal those of serving/replay/offline.py; with
several a rating reaches the other replicas after ``poll_seconds``, so a prediction may miss the user's newest
rating.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from serving.replay.http_client import FAILURES, ApiConnection
from serving.replay.traffic import Traffic


@dataclass
class ReplayResult:
    """``seconds`` of each list request; ``failed`` counts failed requests by reason."""

    sent: int = 0
    seconds: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        """Latency in milliseconds at quantile ``share``."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def replay_traffic(
    address: str,
    traffic: Traffic,
    *,
    events_per_minute: float,
    workers: int = 8,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> ReplayResult:
    """Send ``traffic``; returns after the last response. ``stop`` ends it early."""
    stop = stop or threading.Event()
    driven, lock = ReplayResult(), threading.Lock()
    lanes: list[list[int]] = [[] for _ in range(workers)]
    for row, user in enumerate(traffic.users.tolist()):
        lanes[zlib.crc32(user.encode()) % workers].append(row)
    began, gap, name = time.monotonic(), 60.0 / events_per_minute, uuid.uuid4().hex[:12]

    def lane(rows: list[int]) -> None:
        connection = ApiConnection(address, key=os.environ.get("RECSYS_API_KEY", ""))
        for row in rows:
            if stop.wait(max(0.0, began + row * gap - time.monotonic())):
                return
            seconds, reason = _replay_row(connection, traffic, row, f"replay-{name}-{row}")
            with lock:
                driven.sent += 1
                driven.seconds.append(seconds)
                if reason:
                    driven.failed[reason] = driven.failed.get(reason, 0) + 1
                sent = driven.sent
            if progress is not None and sent % 500 == 0:
                progress(sent, len(traffic))

    threads = [threading.Thread(target=lane, args=(rows,), daemon=True) for rows in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
    return driven


def _replay_row(connection: ApiConnection, traffic: Traffic, row: int, event_id: str) -> tuple[float, str]:
    """Seconds of the list request, and the reason of a failure or ""."""
    user, item = str(traffic.users[row]), str(traffic.items[row])
    began = time.perf_counter()
    try:
        status, listed = connection.request("GET", f"/v1/users/{quote(user, safe='')}/recommendations")
        seconds = time.perf_counter() - began
        if status != 200:
            return seconds, f"list: {status}"
        event = {
            "event_id": event_id,
            "kind": "rating",
            "user_id": user,
            "item_id": item,
            "exposure_id": json.loads(listed)["exposure_id"],
            "rating": float(traffic.values[row]),
        }
        status, _ = connection.request("POST", "/v1/feedback", {"events": [event]})
        return seconds, "" if status == 200 else f"feedback: {status}"
    except (*FAILURES, ValueError, KeyError) as error:
        return time.perf_counter() - began, type(error).__name__
