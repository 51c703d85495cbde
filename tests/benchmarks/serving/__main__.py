"""What an answer costs: our endpoint beside an empty route of the same stack, plain uvicorn, and Ray
Serve's default stack, in one run on one machine, the client included.

    python -m tests.benchmarks.serving                       # a release of ML-32M's shape, made first
    python -m tests.benchmarks.serving --release runs/NAME/release --second runs/OTHER/release
    python -m tests.benchmarks.serving --minutes 10          # and load while shares and releases change
    python -m tests.benchmarks.serving --peer peers/bin/python   # and Cornac's server, from that environment
    python -m tests.benchmarks.serving --kill --replicas 2   # and kill -9 of a replica under load

Figures of a machine that does other things at the same time are noise; their ratios less so. The client
is asyncio with one keep-alive connection a worker, on the same cores as the service.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.benchmarks.serving.change import under_change
from tests.benchmarks.serving.client import known, session
from tests.benchmarks.serving.kill import under_kill
from tests.benchmarks.serving.peer import asked_of_peer, peer
from tests.benchmarks.serving.programs import (
    ADMIN,
    EMPTY_APP,
    EMPTY_DEFAULT,
    EMPTY_OURS,
    PLAIN,
    Program,
    memory,
    serve,
)
from tests.waiting import free_port

# What `python -m serving serve` starts Ray with; the default stack is measured as Ray comes.
OURS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}


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
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has cornac, flask and gunicorn")
    parser.add_argument("--kill", action="store_true", help="kill -9 a replica under load")
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
            environment = {} if source is EMPTY_DEFAULT else OURS
            with Program(["-c", source, str(port), *more], port, **environment) as program:
                program.measure(name, wanted, options)
    if options.peer:
        with peer(options.peer, folder, users=options.users, items=options.items) as program:
            program.measure("Cornac's server, matrix factors", asked_of_peer(options.users), options)
    with serve(folder, options) as program:
        ours(program, options)
        if options.kill:
            under_kill(program, folder / "events.db", options)


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
