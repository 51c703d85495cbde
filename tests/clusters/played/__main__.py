"""Play a RunPod by hand, or around one command.

    python -m tests.clusters.played                    prints what to export; Ctrl-C ends it, with the ledger
    python -m tests.clusters.played -- COMMAND...      runs the command against it: its output with seconds
                                                       before each line, then the ledger; its exit code

The command sees a state folder of its own, and `python` is the one that plays.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clusters.played.api import PlayedApi
from tests.clusters.played.cloud import Cloud
from tests.clusters.played.namespaces import Namespaces
from tests.clusters.played.outside import Outside


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(prog="python -m tests.clusters.played", description=__doc__)
    command.add_argument(
        "--boot-seconds", type=float, default=2.0, help="from create to a running container (default: 2)"
    )
    command.add_argument(
        "--one-core-each",
        action="store_true",
        help="pod N may use only this machine's core N (modulo their number), so that two are twice one",
    )
    return command


def ledger_text(cloud: Cloud) -> str:
    """The service's own account of the play: every pod, its seconds, dollars and who ended it."""
    rows = cloud.ledger()
    lines = [
        f"  {row['pod']}  {row['gpu']}  {row['seconds']:.1f} s  ${row['usd']:.6f}  {row['status']} by "
        f"{row['ended_by']}"
        for row in rows
    ]
    total = sum(row["usd"] for row in rows)
    ended = sum(row["ended_by"] != "STILL RUNNING" for row in rows)
    counts = f"{len(rows)} pod(s) created, {ended} ended, {len(rows) - ended} left; ${total:.6f}"
    return "\n".join([f"ledger of the service: {counts}", *lines])


def run(command: list[str], cloud: Cloud, url: str) -> int:
    """One command against the played service; its exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="played-state-") as state:
        environment = os.environ | {
            "RUNPOD_API_URL": url,
            "RUNPOD_API_KEY": cloud.account_key,
            "XDG_STATE_HOME": state,
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        print(f"$ {' '.join(command)}", flush=True)
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the command's to answer
        assert child.stdout is not None
        for line in child.stdout:
            print(f"{time.monotonic() - began:7.1f}  {line.decode(errors='replace')}", end="", flush=True)
        status = child.wait()
        print(f"{time.monotonic() - began:7.1f}  exit code {status}", flush=True)
    return status


def wait(cloud: Cloud) -> int:
    """Tell each change of the pods until Ctrl-C."""
    seen = ""
    try:
        while True:
            now = "\n".join(f"{pod.request.name}: {pod.status} {pod.ended_by}" for pod in cloud.pods.values())
            if now != seen:
                seen = now
                print(now, flush=True)
            time.sleep(0.5)
    except KeyboardInterrupt:
        return 0


def main() -> int:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options, command = parser().parse_args(arguments[:cut]), arguments[cut + 1 :]
    machines = Namespaces(one_core_each=options.one_core_each)
    try:
        cloud = Cloud(machines, boot_seconds=options.boot_seconds)
        with Outside(machines.bridge_ip) as outside, PlayedApi(cloud, host=machines.bridge_ip) as api:
            machines.environment = outside.environment
            print(f"export RUNPOD_API_URL={api.url} RUNPOD_API_KEY={cloud.account_key}", flush=True)
            status = run(command, cloud, api.url) if command else wait(cloud)
            print(ledger_text(cloud), flush=True)
            return status or bool(cloud.living())
    finally:
        machines.close()


if __name__ == "__main__":
    sys.exit(main())
