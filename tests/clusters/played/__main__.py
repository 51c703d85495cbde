"""Play a RunPod by hand, or around one command.

    python -m tests.clusters.played                    prints what to export; Ctrl-C ends it, with the ledger
    python -m tests.clusters.played -- COMMAND...      runs the command against it: its output with seconds
                                                       before each line, then the ledger; its exit code

The command sees a state folder of its own, and `python` is the one that plays.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from tests.clusters.played.around import ledger_text, run, whole_play
from tests.clusters.played.cloud import Cloud


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m tests.clusters.played",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--boot-seconds", type=float, default=2.0, help="from create to a running container (default: 2)"
    )
    command.add_argument(
        "--one-core-each",
        action="store_true",
        help="pod N may use only this machine's core N (modulo their number), so that two are twice one",
    )
    return command


def wait(cloud: Cloud) -> int:
    """Tell each change of the pods until Ctrl-C."""
    seen = ""
    try:
        while True:
            rows = cloud.ledger()
            now = "\n".join(f"{row['pod']}: {row['status']}, {row['ended_by']}" for row in rows)
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
    with whole_play(boot_seconds=options.boot_seconds, one_core_each=options.one_core_each) as (cloud, url):
        if command:
            signal.signal(signal.SIGINT, lambda *_: None)  # the terminal's Ctrl-C is the command's to answer
            print(f"$ {' '.join(command)}", flush=True)
            status = run(command, cloud, url).status
            print(f"exit code {status}")
        else:
            print(f"export RUNPOD_API_URL={url} RUNPOD_API_KEY={cloud.account_key}", flush=True)
            status = wait(cloud)
        print(ledger_text(cloud), flush=True)
        return status or bool(cloud.living())


if __name__ == "__main__":
    sys.exit(main())
