"""A whole play around one command: the service, real pods, what pods find outside, and its ledger."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.clusters.played.api import PlayedApi
from tests.clusters.played.cloud import Cloud
from tests.clusters.played.namespaces import Namespaces
from tests.clusters.played.outside import Outside


@dataclass(frozen=True)
class Ran:
    """A command that ended; each line with the second, since the epoch, at which it came."""

    status: int
    lines: tuple[tuple[float, str], ...]


@contextmanager
def whole_play(*, boot_seconds: float, one_core_each: bool) -> Iterator[tuple[Cloud, str]]:
    """The account and the service's address, until the block ends; then nothing of it is left."""
    machines = Namespaces(one_core_each=one_core_each)
    try:
        cloud = Cloud(machines, boot_seconds=boot_seconds)
        with Outside(machines.bridge_ip) as outside, PlayedApi(cloud, host=machines.bridge_ip) as api:
            machines.environment = outside.environment
            yield cloud, api.url
    finally:
        machines.close()


def run(command: Sequence[str], cloud: Cloud, url: str, *, show: bool = True) -> Ran:
    """One command against the played service, with a state folder of its own. `python` is this Python."""
    began, lines = time.time(), []
    with tempfile.TemporaryDirectory(prefix="played-state-") as state:
        environment = os.environ | {
            "RUNPOD_API_URL": url,
            "RUNPOD_API_KEY": cloud.account_key,
            "XDG_STATE_HOME": state,
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert child.stdout is not None
        for raw in child.stdout:
            lines.append((time.time(), raw.decode(errors="replace").rstrip("\n")))
            if show:
                print(f"{lines[-1][0] - began:7.1f}  {lines[-1][1]}", flush=True)
        return Ran(child.wait(), tuple(lines))


def ledger_text(cloud: Cloud) -> str:
    """The service's own account of the play: every pod, its seconds, dollars and who ended it."""
    rows = cloud.ledger()
    total = sum(row["usd"] for row in rows)
    ended = sum(row["ended_by"] != "STILL RUNNING" for row in rows)
    lines = [
        f"ledger of the service: {len(rows)} pod(s) created, {ended} ended, {len(rows) - ended} left; "
        f"${total:.6f}"
    ]
    for row in rows:
        lines.append(
            f"  {row['pod']}  {row['gpu']}  {row['seconds']:.1f} s  ${row['usd']:.6f}  ended by "
            f"{row['ended_by']}"
        )
    return "\n".join(lines)
