"""What an answer costs: our endpoint beside an empty route of the same stack, plain uvicorn, and Ray
Serve's default stack, in one run on one machine, the client included.

    python -m tests.benchmarks.serving                       # a release of ML-32M's shape, made first
    python -m tests.benchmarks.serving --release runs/NAME/release --second runs/OTHER/release
    python -m tests.benchmarks.serving --minutes 10          # and load while shares and releases change

Figures of a machine that does other things at the same time are noise; their ratios less so. The client
is asyncio with one keep-alive connection a worker, on the same cores as the service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from tests.serving.postgres import free_port
from tests.serving.sockets import listening, tree

PYTHON = [sys.executable]
ADMIN = {"authorization": "Bearer benchmark"}
EMPTY_APP = """
import sys, uvicorn
from fastapi import FastAPI
from starlette.responses import Response
app = FastAPI()
@app.get("/v1/users/{user_id}/recommendations")
async def empty(user_id: str, count: int = 10) -> Response:
    return Response(b"{}", media_type="application/json")
"""
PLAIN = (
    EMPTY_APP
    + """
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False, loop="uvloop", http="httptools")
"""
)
RAY = """
import logging, sys, time
import ray
from ray import serve
ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False,
         logging_level=logging.ERROR)
"""
# The same stack as ours: Serve keeps the process, the replica listens itself.
EMPTY_OURS = (
    RAY
    + """
@serve.deployment
class Empty:
    def __init__(self, source, port):
        from serving.server import Server
        names = {}
        exec(source, names)
        self.server = Server(names["app"], host="127.0.0.1", port=port)
        self.server.start()
serve.start(proxy_location="Disabled")
serve.run(Empty.bind(sys.argv[2], int(sys.argv[1])), route_prefix=None)
time.sleep(3600)
"""
)
EMPTY_DEFAULT = (
    RAY
    + """
from fastapi import FastAPI
from starlette.responses import Response
app = FastAPI()
@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Empty:
    @app.get("/v1/users/{user_id}/recommendations")
    async def empty(self, user_id: str, count: int = 10) -> Response:
        return Response(b"{}", media_type="application/json")
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Empty.bind())
time.sleep(3600)
"""
)


@dataclass
class Figures:
    """Milliseconds of each request, in any order; ``seconds`` they took together."""

    milliseconds: np.ndarray
    seconds: float
    failed: int
    sources: dict[str, int]

    def line(self) -> str:
        p50, p99, worst = np.percentile(self.milliseconds, [50, 99, 100])
        told = " ".join(f"{name}:{count}" for name, count in sorted(self.sources.items()))
        rate = len(self.milliseconds) / self.seconds
        times = f"p50 {p50:6.2f}  p99 {p99:6.2f}  worst {worst:7.2f} ms"
        return f"{times}  {rate:6.0f}/s  failed {self.failed}  {told}"


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
        return f"GET /v1/users/{user}/recommendations?count=10 HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    return make


def session(items: int) -> Callable[[], bytes]:
    """A new user with ten ratings."""

    def make() -> bytes:
        rated = random.sample(range(1, items + 1), 10)
        body = json.dumps({"ratings": [{"item_id": str(item), "rating": 4.0} for item in rated]}).encode()
        head = "POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
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


class Program:
    """A server in a process of its own, ended with everything it started."""

    def __init__(self, words: list[str], port: int, **environment: str) -> None:
        self.port = port
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*PYTHON, *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        path = f"http://127.0.0.1:{port}/v1/users/1/recommendations"
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{words[:3]} ended: {self.process.stdout and self.process.stdout.read()}")
            try:
                if httpx.get(path, timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        self.ready = time.perf_counter() - began

    def measure(
        self, name: str, make: Callable[[], bytes], options: argparse.Namespace
    ) -> dict[int, Figures]:
        asyncio.run(load(self.port, make, workers=4, seconds=1.0))
        found = {}
        for workers in options.concurrency:
            found[workers] = asyncio.run(load(self.port, make, workers=workers, seconds=options.seconds))
            print(f"{name:34} c={workers:<3} {found[workers].line()}", flush=True)
        return found

    def replicas(self) -> set[int]:
        return listening(tree(self.process.pid)).get(("127.0.0.1", self.port), set())

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            for process in tree(self.process.pid):
                os.kill(process, signal.SIGKILL)


def memory(process: int) -> tuple[float, float]:
    """(PSS, private) in MB: shared pages count by share, private ones are the process's alone."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in text.splitlines()[1:]}
    return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def serve(folder: Path, options: argparse.Namespace, *more: str) -> Program:
    port = free_port()
    words = ["-m", "serving", "serve", "--release", str(options.release), "--port", str(port)]
    words += ["--events", str(folder / "events.db"), "--replicas", str(options.replicas), *more]
    return Program(words, port, RECSYS_ADMIN_TOKEN="benchmark")


def under_change(program: Program, options: argparse.Namespace) -> None:
    """Load while shares change every second and the second arm's release every minute."""
    url = f"http://127.0.0.1:{program.port}/v1/experiments/main"
    stop = asyncio.Event()
    memories: list[float] = []
    refused: list[str] = []

    async def change() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            step = 0
            while not stop.is_set():
                step += 1
                state = (await client.get(url)).json()
                share = (step % 9 + 1) / 10
                second = options.release if (step // 60) % 2 else options.second
                arms = [
                    {"name": "main", "release": str(options.release), "share": round(1 - share, 2)},
                    {"name": "second", "release": str(second), "share": share},
                ]
                body = {"revision": state["revision"], "arms": arms}
                answer = await client.put(url, json=body, headers=ADMIN)
                if answer.status_code != 200:
                    refused.append(answer.text)
                memories.append(sum(memory(process)[0] for process in program.replicas()))
                await asyncio.sleep(1.0)

    async def both() -> Figures:
        changing = asyncio.create_task(change())
        found = await load(program.port, known(options.users), workers=8, seconds=60 * options.minutes)
        stop.set()
        await changing
        return found

    figures = asyncio.run(both())
    print(f"{'under change, ' + str(options.minutes) + ' min':34} c=8   {figures.line()}")
    third = max(len(memories) // 3, 1)
    print(
        f"revisions {len(memories)}, refused {len(refused)}; PSS of the replicas, MB: first third "
        f"{np.mean(memories[:third]):.0f}, last third {np.mean(memories[-third:]):.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", type=Path)
    parser.add_argument("--second", type=Path)
    parser.add_argument("--users", type=int, help="ids 1..users are asked for")
    parser.add_argument("--items", type=int)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load for each figure")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--only-ours", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends what was started, too
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        from tests.big_release import ITEMS, USERS, make_big_release

        for name, seed in (("release", 0), ("second", 1)):
            if getattr(options, name) is None:
                print(f"making a release of ML-32M's shape ({name}) ...", flush=True)
                setattr(options, name, make_big_release(folder / name, seed=seed, rating_weight=0.2))
        options.users, options.items = options.users or USERS, options.items or ITEMS
        run(folder, options)


def run(folder: Path, options: argparse.Namespace) -> None:
    wanted = known(options.users)
    if not options.only_ours:
        for name, source, more in (
            ("plain uvicorn, empty route", PLAIN, []),
            ("same stack, empty route", EMPTY_OURS, [EMPTY_APP]),
            ("Serve's default stack, empty route", EMPTY_DEFAULT, []),
        ):
            port = free_port()
            loopback = {} if source is EMPTY_DEFAULT else {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
            with Program(["-c", source, str(port), *more], port, **loopback) as program:
                program.measure(name, wanted, options)
    with serve(folder, options) as program:
        ours(program, options)


def ours(program: Program, options: argparse.Namespace) -> None:
    wanted = known(options.users)
    replica = min(program.replicas())
    pss, private = memory(replica)
    program.measure("our endpoint, known users", wanted, options)
    program.measure("our endpoint, new users", session(options.items), options)
    after = memory(replica)
    assert program.process.stdout is not None
    print(f"ready in {program.ready:.1f} s; it says: {program.process.stdout.readline().strip()}")
    print(
        f"a replica's PSS, MB: {pss:.0f} when ready ({private:.0f} private), {after[0]:.0f} after the load "
        f"({after[1]:.0f} private)"
    )
    state = httpx.get(f"http://127.0.0.1:{program.port}/v1/experiments/main").json()
    arms = [
        {"name": "main", "release": str(options.release), "share": 0.5},
        {"name": "second", "release": str(options.second), "share": 0.5},
    ]
    began = time.perf_counter()
    httpx.put(
        f"http://127.0.0.1:{program.port}/v1/experiments/main",
        json={"revision": state["revision"], "arms": arms},
        headers=ADMIN,
        timeout=120,
    ).raise_for_status()
    took = time.perf_counter() - began
    program.measure("our endpoint, two arms", wanted, options)
    two = memory(replica)
    print(f"a second arm: loaded in {took:.1f} s, PSS +{two[0] - after[0]:.0f} MB after its load")
    if options.minutes:
        under_change(program, options)


if __name__ == "__main__":
    main()
