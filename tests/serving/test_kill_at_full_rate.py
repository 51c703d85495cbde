"""SIGKILL to a server that answers looked-up lists as fast as it can: no answer is without its row."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.events.event_writer import EventWriter
from serving.events.store import EventStore
from tests.serving.events.checks import told
from tests.waiting import free_port, wait_for

SERVER = """
import sys, time
from pathlib import Path
from serving.api.asgi import create_asgi
from serving.engine.service import Service
from serving.server import Server
from serving.settings import read_settings
events, release, port = sys.argv[1:]
arms = [{"name": "main", "release": release, "share": 1.0}]
fields = {"events": events, "port": int(port), "experiment": {"arms": arms}, "deadline_ms": 60_000}
service = Service(read_settings(fields, where="the test"))
service.start()
Server(create_asgi(service), host="127.0.0.1", port=int(port)).start()
print("up", flush=True)
time.sleep(600)
"""
CONNECTIONS = 8
ANSWERS = 4_000  # several of the batches that the writer commits
EXPOSURE = re.compile(rb'"exposure_id":"([0-9a-f]{32})"')


async def load_until_killed(port: int, process: int) -> tuple[list[str], int]:
    """Asks on all connections without a pause and kills the server in the middle.

    Returns:
        Exposure ids of the answers that came whole, and how many of them were looked up.
    """
    answered: list[str] = []
    looked_up = 0

    async def ask(number: int) -> None:
        nonlocal looked_up
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        try:
            while True:
                turn += 1
                path = f"/v1/users/u{turn % 60}/recommendations"
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                result = EXPOSURE.search(await reader.readexactly(length))
                assert result is not None
                answered.append(result[1].decode())
                looked_up += b"lookup;dur" in head
                if len(answered) == ANSWERS:
                    os.kill(process, signal.SIGKILL)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    await asyncio.wait_for(asyncio.gather(*(ask(number) for number in range(CONNECTIONS))), 300)
    return answered, looked_up


@pytest.mark.slow
def test_no_answer_is_without_its_row(releases: dict[str, Path], tmp_path: Path) -> None:
    events, port = str(tmp_path / "events.db"), free_port()
    words = [sys.executable, "-c", SERVER, events, str(releases["a"]), str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            answered, looked_up = asyncio.run(load_until_killed(port, process.pid))
        finally:
            process.kill()
    assert len(answered) >= ANSWERS
    assert looked_up > ANSWERS / 2
    store = EventStore(events)
    stored = {row.exposure_id for row in store.exposures()}
    spooled = sum(path.stat().st_size for path in Path(f"{events}.spool").glob("*.jsonl"))
    assert spooled > 0 or set(answered) <= stored
    writer = EventWriter(store, folder=Path(f"{events}.spool"))
    writer.add_feedback([told("later")]).result(timeout=120)  # what was left behind is brought in first
    wait_for(lambda: set(answered) <= {row.exposure_id for row in store.exposures()})
    writer.close()
    assert len(set(answered)) == len(answered)
