"""``python -m serving replay``: sends the newest ratings as live traffic to a running service."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import requests

from recsys.errors import InputError
from recsys.text_table import number, text_table
from recsys.types import JsonObject
from serving.domain import ArmSpec, ExperimentState, SlotRange
from serving.release_registry import resolve
from serving.replay.drive import replay_traffic
from serving.replay.offline import offline_metrics
from serving.replay.traffic import future_of

NOTE = (
    "these users never saw our lists: replay compares predictions on logged behaviour. It measures no "
    "lift, and its verdicts do not tell that users would behave differently"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running service")
    parser.add_argument("--experiment", default="main", help="default: main")
    parser.add_argument("--data", help="the run's --data (default: the release's dataset name)")
    parser.add_argument(
        "--speed", type=float, default=10_000.0, metavar="EVENTS", help="events a minute (default 10,000)"
    )
    parser.add_argument("--events", type=int, metavar="COUNT", help="only the first COUNT ratings")
    parser.add_argument(
        "--returning",
        action="store_true",
        help="only users that the first arm's release knows (new users have nothing to compare)",
    )
    parser.add_argument("--workers", type=int, default=8, help="concurrent requests (default 8)")
    parser.add_argument(
        "--no-offline", action="store_true", help="do not compute the figures offline as well"
    )
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")


def run(options: argparse.Namespace) -> int:
    """Replay, then print online and offline figures; exit code 1 if a request failed."""
    if options.speed <= 0 or options.workers < 1:
        raise InputError(
            f"expected a positive --speed and --workers, got {options.speed:g}, {options.workers}"
        )
    state = experiment_state(options.url, options.experiment)
    traffic = future_of(resolve(state.arms[0].release), options.data, returning=options.returning)
    traffic = traffic.first(options.events)
    users = len(set(traffic.users.tolist()))
    print(f"{len(traffic):,} ratings of {users:,} users at {options.speed:,.0f} a minute; {NOTE}")
    began = time.monotonic()
    driven = replay_traffic(
        options.url.rstrip("/"),
        traffic,
        events_per_minute=options.speed,
        workers=options.workers,
        progress=_print_progress,
    )
    seconds = time.monotonic() - began
    print(
        f"{driven.sent:,} events in {seconds:.1f} s ({60 * driven.sent / seconds:,.0f} a minute), lists p50 "
        f"{driven.percentile(0.5):.1f} ms, p99 {driven.percentile(0.99):.1f} ms, failed {driven.failed or 0}"
    )
    online = _settled(options.url, options.experiment, driven.sent)
    offline = {} if options.no_offline else offline_metrics(state, traffic)
    rows = [_row(arm, offline.get(arm["arm"])) for arm in online["arms"]]
    _print(rows)
    for comparison in online["comparisons"]:
        print(
            f"{comparison['treatment']} - {comparison['control']}, {comparison['metric']}: "
            f"{comparison['verdict']['words']}"
        )
    if options.out:
        body = {"note": NOTE, "arms": rows, "online": online, "seconds": seconds, "failed": driven.failed}
        body["p99_milliseconds"] = driven.percentile(0.99)
        options.out.write_text(json.dumps(body, indent=1))
    return 1 if driven.failed else 0


def experiment_state(url: str, name: str) -> ExperimentState:
    """The state in service. Raises InputError where it cannot be read."""
    body = _get(url, f"/v1/experiments/{name}")
    arms = tuple(ArmSpec(**arm) for arm in body.pop("arms"))
    ranges = tuple(SlotRange(**piece) for piece in body.pop("ranges"))
    return ExperimentState(**body, arms=arms, ranges=ranges)


def _get(url: str, path: str) -> Any:
    headers = {"X-API-Key": os.environ["RECSYS_API_KEY"]} if os.environ.get("RECSYS_API_KEY") else {}
    try:
        answer = requests.get(url.rstrip("/") + path, headers=headers, timeout=15)
    except requests.RequestException as error:
        raise InputError(
            f"no service answers at {url} ({type(error).__name__}); start one with `python -m serving serve "
            "--release runs/NAME/release`"
        ) from None
    if answer.status_code != 200:
        raise InputError(f"{url}{path} answered {answer.status_code}: {answer.text[:200]}")
    return answer.json()


def _settled(url: str, experiment: str, sent: int) -> JsonObject:
    """The results once all exposures are counted: they are stored after the responses."""
    deadline = time.monotonic() + 30
    while True:
        body: JsonObject = _get(url, f"/v1/experiments/{experiment}/results")
        if sum(arm["exposures"] for arm in body["arms"]) >= sent or time.monotonic() > deadline:
            return body
        time.sleep(0.5)


def _print_progress(sent: int, total: int) -> None:
    print(f"  {sent:,} of {total:,}", file=sys.stderr, flush=True)


def _row(arm: JsonObject, offline: Any) -> JsonObject:
    row = {
        "arm": arm["arm"],
        "users": arm["users"],
        "exposures": arm["exposures"],
        "online_rmse": arm["rmse"],
        "online_hit_rate": arm["hit_rate"],
        "p99_milliseconds": arm["p99_milliseconds"],
        "fallbacks": arm["fallbacks"],
    }
    if offline is not None:
        row |= {"offline_rmse": offline.rmse, "offline_hit_rate": offline.hit_rate}
    return row


def _print(rows: list[JsonObject]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    print(text_table(names, cells))


def _cell(value: Any) -> str:
    return number(value, 5) if isinstance(value, float) or value is None else str(value)
