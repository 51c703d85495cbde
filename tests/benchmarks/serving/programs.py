"""The servers measured, each a process of its own: ours, and empty routes to compare with."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.benchmarks.serving.client import Figures, load
from tests.serving.sockets import listening, tree
from tests.waiting import free_port

PATH = "/v1/users/1/recommendations"  # a server is ready once it answers this
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
ray.init(address="local", num_cpus=6, include_dashboard=False, object_store_memory=100_000_000,
         log_to_driver=False, logging_level=logging.ERROR)
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
replicas = int(sys.argv[3]) if len(sys.argv) > 3 else 1
serve.run(Empty.options(num_replicas=replicas).bind(sys.argv[2], int(sys.argv[1])), route_prefix=None)
time.sleep(3600)
"""
)
EMPTY_DEFAULT = (
    RAY
    + """
from fastapi import FastAPI
from starlette.responses import Response
app = FastAPI()
@serve.deployment(max_ongoing_requests=100, num_replicas=int(sys.argv[2]) if len(sys.argv) > 2 else 1)
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


class Program:
    """A server in a process of its own, ended with everything it started."""

    def __init__(
        self,
        words: list[str],
        port: int,
        *,
        python: str = sys.executable,
        path: str = PATH,
        **environment: str,
    ) -> None:
        self.port = port
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [python, *words],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{words[:3]} ended: {self.process.stdout and self.process.stdout.read()}")
            try:
                if httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        self.ready = time.perf_counter() - began

    def measure(
        self, name: str, make: Callable[[], bytes], options: argparse.Namespace
    ) -> dict[int, Figures]:
        asyncio.run(load(self.port, make, workers=4, seconds=1.0))
        result = {}
        for workers in options.concurrency:
            result[workers] = asyncio.run(load(self.port, make, workers=workers, seconds=options.seconds))
            print(f"{name:34} c={workers:<3} {result[workers].line()}", flush=True)
        return result

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


def serve(folder: Path, options: argparse.Namespace, *more: str) -> Program:
    port = free_port()
    words = ["-m", "serving", "serve", "--release", str(options.release), "--port", str(port)]
    words += ["--events", str(folder / "events.db"), "--replicas", str(options.replicas), *more]
    return Program(words, port, RECSYS_ADMIN_TOKEN="benchmark")


def memory(process: int) -> tuple[float, float]:
    """(PSS, private) in MB: shared pages count by share, private ones are the process's alone."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in text.splitlines()[1:]}
    return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]
