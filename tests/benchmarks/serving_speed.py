"""What a list costs by where it comes from, beside an empty route of the same stack, in one run.

    python -m tests.benchmarks.serving_speed                                # a release of ML-100K's shape
    python -m tests.benchmarks.serving_speed --release runs/NAME/release --replicas 2 --seconds 4
    python -m tests.benchmarks.serving_speed --shape ml-32m --lists FOLDER    # of `serving precompute`
    python -m tests.benchmarks.serving_speed --default-stack --cornac peers/bin/python

Two servers, each a Ray Serve application with as many replicas: an empty FastAPI route behind the product's
own listener, and the product with key, access log, metrics and event store. The client shares their cores,
and the cells of one concurrency follow each other, so that their ratios mean more than their milliseconds.

- looked up: known users without new ratings, each asked for once before
- computed: seen items let back in, which no stored list answers
- changed: of 20 requests one is of a user who has rated a film just before; posts are not timed
- new users: a session with ten ratings

Peers, each for its own cells, before them: an empty route of Ray Serve's default stack, and Cornac's server
(one matrix factorisation of the release's shape; its Python needs cornac, flask and gunicorn).

The second table raises the load of computed lists. A refused client (503) waits 0.1 s and asks again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from recsys.release.load import load_release
from tests.benchmarks.serving.closed_loop import RATING, Load, Turn, measure
from tests.benchmarks.serving.peer import asked_of_peer, peer
from tests.benchmarks.serving.programs import EMPTY_APP, EMPTY_DEFAULT, EMPTY_OURS, Program
from tests.waiting import free_port

KEY = "benchmark-key"
SHAPES = {"ml-100k": (943, 1_682, 100_000), "ml-32m": (200_948, 84_432, 32_000_204)}
RAY = {"RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "180"}  # as ours; patient
CHANGED = 0.05  # share of requests that are of users who have just rated
HEADER = (
    f"{'lists':<13} {'c':>4} {'lists/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'refused':>8} {'fallbacks':>10} "
    f"{'personal':>9} {'rate/empty':>11} {'p50-empty':>10}"
)
OVERLOAD = (8, 16, 32, 64, 128, 256)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\r\n".encode()


def post(path: str, body: object) -> bytes:
    text = json.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
    )
    return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()


class Requests:
    """Turns of each kind for the people and items of a release."""

    def __init__(self, users: list[str], items: list[str], seed: int) -> None:
        self._random = random.Random(seed)
        self.users, self.items = users, items
        self._plain = [get(f"/v1/users/{user}/recommendations?count=10") for user in users]
        self._computed = [
            get(f"/v1/users/{user}/recommendations?count=10&include_seen=true") for user in users[:20_000]
        ]
        self._ratings = 0

    def every_user(self) -> Iterator[bytes]:
        return iter(self._plain)

    def looked_up(self) -> Turn:
        return (("looked up", self._random.choice(self._plain)),)

    def computed(self) -> Turn:
        return (("computed", self._random.choice(self._computed)),)

    def changed(self) -> Turn:
        if self._random.random() >= CHANGED:
            return (("unchanged", self._random.choice(self._plain)),)
        self._ratings += 1
        index = self._random.randrange(len(self.users))
        event = {
            "event_id": f"{os.getpid()}-{self._ratings}",
            "kind": "rating",
            "user_id": self.users[index],
            "item_id": self._random.choice(self.items),
            "rating": float(self._random.randint(1, 5)),
        }
        return ((RATING, post("/v1/feedback", {"events": [event]})), ("changed", self._plain[index]))

    def new_users(self) -> Turn:
        rated = self._random.sample(self.items, 10)
        body = {"ratings": [{"item_id": item, "rating": self._random.randint(1, 5)} for item in rated]}
        return (("new users", post("/v1/recommendations", body)),)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.serving_speed",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--release", type=Path, help="default: one that is made, of --shape")
    parser.add_argument("--shape", choices=SHAPES, default="ml-100k")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load a cell (default 4, at most 10)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 128])
    parser.add_argument(
        "--lists", type=Path, help="stored lists of the release; default: made beside the load"
    )
    parser.add_argument("--default-stack", action="store_true", help="measure Ray Serve's default stack, too")
    parser.add_argument("--cornac", metavar="PYTHON", help="measure Cornac's server, by this Python")
    parser.add_argument("--no-overload", action="store_true", help="leave the second table out")
    options = parser.parse_args()
    options.seconds = min(options.seconds, 10.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends what was started, too
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        release = options.release or _made(folder / "release", *SHAPES[options.shape])
        opened = load_release(release, verify=False)
        requests = Requests(
            [str(name) for name in opened.users.names], [str(name) for name in opened.items.ids.names], 0
        )
        print(HEADER)
        measure_peers(folder, len(requests.users), len(requests.items), requests, options)
        port = free_port()
        empty_words = ["-c", EMPTY_OURS, str(port), EMPTY_APP, str(options.replicas)]
        with (
            Program(empty_words, port, **RAY) as empty,
            _product(folder, release, options) as product,
        ):
            run(empty.port, product.port, requests, options)


def _made(folder: Path, users: int, items: int, pairs: int) -> Path:
    from tests.big_release import make_big_release

    return make_big_release(folder, users=users, items=items, pairs=pairs, rating_weight=0.2)


def _product(folder: Path, release: Path, options: argparse.Namespace) -> Program:
    port = free_port()
    config = folder / "serve.yaml"
    args = {} if options.lists is None else {"lists": str(options.lists)}
    config.write_text(
        yaml.safe_dump({"applications": [{"name": "a", "import_path": "serving.app:build", "args": args}]})
    )
    words = ["-m", "serving", "serve", "--release", str(release), "--port", str(port)]
    words += ["--events", str(folder / "events.db"), "--replicas", str(options.replicas)]
    words += ["--access-log", str(folder / "access.log"), "--config", str(config)]
    return Program(words, port, path="/readyz", RECSYS_API_KEY=KEY)


def measure_peers(
    folder: Path, users: int, items: int, requests: Requests, options: argparse.Namespace
) -> None:
    """The peers' rows; they have the machine for themselves."""

    def rows(name: str, program: Program, turn: Callable[[], Turn]) -> None:
        with program:
            measure(program.port, turn, connections=8, seconds=2.0)
            for connections in options.concurrency:
                seen = measure(program.port, turn, connections=connections, seconds=options.seconds)
                print(_line(name, connections, seen, None), flush=True)

    if options.default_stack:
        port = free_port()
        program = Program(["-c", EMPTY_DEFAULT, str(port), str(options.replicas)], port)
        rows("Serve's empty", program, requests.looked_up)
    if options.cornac:
        make = asked_of_peer(users)
        rows("Cornac", peer(options.cornac, folder, users=users, items=items), lambda: (("", make()),))


def run(empty: int, product: int, requests: Requests, options: argparse.Namespace) -> None:
    """Both tables, printed as they come."""
    warm_up(product, requests)
    load = f"load {os.getloadavg()[0]:.1f} before"
    print(f"{os.cpu_count()} cores shared with the client, {load}; {options.replicas} replicas")
    kinds: dict[str, tuple[int, Callable[[], Turn]]] = {
        "empty route": (empty, requests.looked_up),
        "looked up": (product, requests.looked_up),
        "computed": (product, requests.computed),
        "5% changed": (product, requests.changed),
        "new users": (product, requests.new_users),
    }
    for connections in options.concurrency:
        beside: Load | None = None
        for name, (port, turn) in kinds.items():
            seen = measure(port, turn, connections=connections, seconds=options.seconds)
            beside = beside or seen
            print(_line(name, connections, seen, beside), flush=True)
            if "changed" in seen.milliseconds:
                print(
                    f"{'  of these':<13} {'':>4} changed: {len(seen.times('changed'))} lists, p50 "
                    f"{seen.quantile(0.5, 'changed'):.2f}, p99 {seen.quantile(0.99, 'changed'):.2f} ms, "
                    f"{seen.fallbacks('changed'):.2%} fallbacks; unchanged: p99 "
                    f"{seen.quantile(0.99, 'unchanged'):.2f} ms",
                    flush=True,
                )
    if options.no_overload:
        return
    print(
        f"\n{'computed, c':<12} {'admitted/s':>11} {'refused':>8} {'p50 ms':>8} {'p99 ms':>8} {'personal':>9}"
    )
    for connections in OVERLOAD:
        seen = measure(product, requests.computed, connections=connections, seconds=options.seconds)
        print(
            f"{connections:<12} {seen.rate:>11.0f} {_refused(seen):>8.1%} {seen.quantile(0.5):>8.2f} "
            f"{seen.quantile(0.99):>8.2f} {1 - seen.fallbacks():>9.2%}",
            flush=True,
        )


def warm_up(port: int, requests: Requests) -> None:
    """Asks for users' lists and computes a few on every replica."""
    left = requests.every_user()

    def next_user() -> Turn:
        request = next(left, None)
        return (("", request),) if request is not None else requests.computed()

    measure(port, next_user, connections=8, seconds=5.0)
    measure(port, requests.looked_up, connections=8, seconds=5.0)


def _line(name: str, connections: int, seen: Load, empty: Load | None) -> str:
    failed = f"  {seen.counts['failed']} failed" if seen.counts["failed"] else ""
    beside = (
        ""
        if empty is None
        else (f"{seen.rate / empty.rate:>11.2f} {seen.quantile(0.5) - empty.quantile(0.5):>+10.2f}")
    )
    return (
        f"{name:<13} {connections:>4} {seen.rate:>8.0f} {seen.quantile(0.5):>8.2f} "
        f"{seen.quantile(0.99):>8.2f} {_refused(seen):>8.1%} {seen.fallbacks():>10.3%} "
        f"{1 - seen.fallbacks():>9.2%} {beside}{failed}"
    )


def _refused(seen: Load) -> float:
    """Share of all requests."""
    return seen.counts["refused"] / max(1, seen.counts["refused"] + len(seen.times()))


if __name__ == "__main__":
    main()
