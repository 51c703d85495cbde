"""A whole service on a free loopback port, without Ray: what a replica runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any
from unittest.mock import patch

import httpx

from serving.api.asgi import create_asgi
from serving.engine.service import Service
from serving.operations_service import Operations
from serving.release_registry import resolve
from serving.server import Server
from serving.settings import Settings, read_settings
from tests.waiting import free_port, wait_for

__all__ = ["ADMIN", "AS_ADMIN", "Running", "arms_of", "running", "settings_for", "wait_for"]
ADMIN = "the-admin-token"
AS_ADMIN = {"authorization": f"Bearer {ADMIN}"}


@dataclass
class Running:
    """``client`` speaks to ``url``; ``service`` is what answers."""

    service: Service
    server: Server
    url: str
    client: httpx.Client

    def list(self, user: str, **query: Any) -> dict[str, Any]:
        answer = self.client.get(f"/v1/users/{user}/recommendations", params=query)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def rate(self, user: str, item: str, stars: float, event: str, **more: Any) -> dict[str, Any]:
        entry = {
            "event_id": event,
            "kind": "rating",
            "user_id": user,
            "item_id": item,
            "rating": stars,
            **more,
        }
        answer = self.client.post("/v1/feedback", json={"events": [entry]})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def change(self, arms: list[dict[str, Any]], **more: Any) -> httpx.Response:
        state = self.client.get("/v1/experiments/main").json()
        body = {"revision": state["revision"], "arms": arms, **more}
        return self.client.put("/v1/experiments/main", json=body, headers=AS_ADMIN)


class InThreads:
    """The operations process's part, in this process."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def results(self, experiment: str) -> dict[str, Any]:
        return await asyncio.to_thread(self._operations.results, experiment)

    async def drift(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._operations.drift)

    async def overview(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._operations.overview)


def arms_of(releases: Mapping[str, Path], *shares: float) -> list[dict[str, Any]]:
    """Arms in order, with equal shares where none are given."""
    parts = shares or [1 / len(releases)] * len(releases)
    return [
        {"name": name, "release": str(folder), "share": share}
        for (name, folder), share in zip(releases.items(), parts, strict=True)
    ]


def settings_for(folder: Path, releases: Mapping[str, Path], *shares: float, **fields: Any) -> Settings:
    experiment = {"arms": arms_of(releases, *shares), **fields.pop("experiment", {})}
    made = {
        "port": free_port(),
        "events": str(folder / "events.db"),
        "poll_seconds": 0.05,
        "deadline_ms": 60_000,  # no list is late on a slow machine either
    }
    return read_settings({**made, "experiment": experiment, **fields}, where="the test")


@contextlib.contextmanager
def running(
    folder: Path,
    releases: Mapping[str, Path],
    *shares: float,
    clock: Callable[[], float] = time,
    **fields: Any,
) -> Iterator[Running]:
    """``clock`` is that of the results: one that runs ahead finds every window closed.

    Deadlines of lists and of a batch's turns are a minute unless a test sets its own: answers do not depend
    on the machine's speed."""
    settings = settings_for(folder, releases, *shares, **fields)
    service = Service(settings)
    service.start()
    operations = Operations(
        service.store,
        resolve=resolve,
        notify=lambda text: None,
        settings=settings.operations.as_settings(settings.experiment),
        clock=clock,
    )
    client = InThreads(operations)
    server = Server(create_asgi(service, client), host=settings.host, port=settings.port)
    server.start()
    url = f"http://127.0.0.1:{settings.port}"
    try:
        with (
            patch("serving.engine.admission.BATCH_WAIT_SECONDS", 60.0),
            httpx.Client(base_url=url, timeout=120) as speaker,
        ):
            yield Running(service, server, url, speaker)
    finally:
        server.stop()
        service.close()
