"""The failure table, written by the tests themselves.

    FAILURE_TABLE=rows.jsonl python -m pytest tests/clusters                        played API, no root
    FAILURE_TABLE=rows.jsonl python -m pytest -m system tests/clusters              real pods, root
    python -m tests.clusters.failures rows.jsonl

A test marked `failure(what, injected, seen=...)` proves, after its own assertions, that a line with `seen`
was said to the user ("" where nothing is said, because nothing needs to be done), that ending what is left
as a user would leaves no pod, and what all of it cost by the service's ledger.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from clusters import state as states
from tests.clusters.played.cloud import Cloud
from tests.clusters.played.playing import Play
from tests.clusters.played.stage import Stage

VARIABLE = "FAILURE_TABLE"
OF_US = re.compile(r"breakthrough-[0-9a-f]{8}-| into /\S+")  # names and places of one play only


def prove(world: Play | Stage, what: str, injected: str, *, seen: str) -> None:
    """Check a row and, where FAILURE_TABLE names a file, add it there."""
    lines = [*world.said] if isinstance(world, Play) else world.said().splitlines()
    result = [line for text in lines for line in text.splitlines() if re.search(seen, line)] if seen else []
    assert bool(result) == bool(seen), f"{seen!r} was not said: {lines}"
    if isinstance(world, Play):
        for state in states.all_states():
            if state.phase != "ended" and state.serial:
                world.provider.end(states.load(state.name), log=world.said.append)
    left = [pod for pod in world.cloud.living() if pod.request.name.startswith("breakthrough-")]
    assert left == []
    if path := os.environ.get(VARIABLE):
        row = {"what": what, "injected": injected, "seen": result[0] if result else ""}
        with Path(path).open("a") as file:
            file.write(json.dumps({**row, **money(world.cloud), "real": isinstance(world, Stage)}) + "\n")


def money(cloud: Cloud) -> dict[str, float]:
    rows = cloud.ledger()
    return {
        "created": len(rows),
        "left": sum(row["ended_by"] == "STILL RUNNING" for row in rows),
        "usd": sum(row["usd"] for row in rows),
    }


def table(path: Path) -> str:
    """The rows as Markdown."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [
        "| failure | injected | what the user saw | pods | created | left | dollars |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seen = OF_US.sub("", row["seen"].removeprefix("cluster: ")).strip().replace("|", "/")[:150]
        pods = "real" if row["real"] else "stand-in"
        lines.append(
            f"| {row['what']} | {row['injected']} | {seen or 'nothing'} | {pods} | "
            f"{row['created']} | {row['left']} | {row['usd']:.6f} |"
        )
    total = f"{len(rows)} rows, {sum(row['created'] for row in rows)} pods created, "
    total += f"{sum(row['left'] for row in rows)} left, ${sum(row['usd'] for row in rows):.6f}"
    return "\n".join([*lines, "", total])


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
