"""A service with its operations in one process, without Ray: what the two deployments are together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from recsys.types import JsonObject
from serving.api.asgi import create_asgi
from serving.engine.service import Service
from serving.events.store import EventStore
from serving.operations_service import Operations
from serving.server import Server
from serving.startup_checks import resolve_experiment
from tests.serving.running import Running, settings_for


class Here:
    """The operations client of one process."""

    def __init__(self, running: Operations) -> None:
        self.running = running

    async def results(self, experiment: str) -> JsonObject:
        return self.running.results(experiment)

    async def drift(self) -> JsonObject:
        return self.running.drift()

    async def overview(self) -> JsonObject:
        return self.running.overview()


@contextlib.contextmanager
def operating(folder: Path, releases: Mapping[str, Path], *shares: float, **fields: Any) -> Iterator[Running]:
    """As ``running``, with operations that tick ten times a second."""
    settings = settings_for(folder, releases, *shares, **fields)
    resolve_experiment(settings)
    stop = threading.Event()
    operations = Operations(
        EventStore(settings.events),
        resolve=Path,
        notify=lambda _: None,
        settings=settings.operations.as_settings(settings.experiment),
    )
    failures: list[str] = []
    thread = threading.Thread(target=operations.run, args=(stop,), kwargs={"failed": failures.append})
    thread.start()
    service = Service(settings)
    service.start()
    server = Server(create_asgi(service, Here(operations)), host=settings.host, port=settings.port)
    server.start()
    url = f"http://127.0.0.1:{settings.port}"
    try:
        with httpx.Client(base_url=url, timeout=120) as client:
            yield Running(service, server, url, client)
    finally:
        server.stop()
        service.close()
        stop.set()
        thread.join(120)
    assert failures == []
