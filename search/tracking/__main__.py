"""``python -m search.tracking runs/NAME``: send what MLflow has not taken yet."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from search.tracking.outbox import Outbox
from search.tracking.sender import Sender
from search.tracking.tracker import ARTIFACTS, default_uri, runs_home


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m search.tracking", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, e.g. runs/NAME")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to try (default 300)")
    options = parser.parse_args(arguments)
    journal = Outbox(options.run)
    if not journal.exists():
        print(f"{options.run} has no tracking journal: expected a folder that a run left", file=sys.stderr)
        return 2
    uri = default_uri(options.run)
    sender = Sender(journal, uri, artifacts=runs_home(options.run) / ARTIFACTS, beside=list)
    unsent = sender.close(options.seconds)
    if unsent > 0 or sender.problem:
        print(f"not all sent ({sender.problem or 'out of time'}): run this again later", file=sys.stderr)
        return 1
    print("everything is in MLflow")
    return 0


if __name__ == "__main__":
    sys.exit(main())
