"""A driver to be killed, interrupted and watched: `launch_search` in a process of its own.

    python -m tests.clusters.drive YAML OUT [--stand-in] [--played-gpu] [--detach] [--attach] -- ARGUMENTS

With --stand-in the search is tests/clusters/stand_in.py (a small Ray job that behaves like a search: trials
as tasks on every node, checkpoints, resume, Ctrl-C), sent in place of search/breakthrough.py. With
--played-gpu pods whose PYTHONPATH is the code's folder see a GPU (tests/clusters/played/visible_gpu.py).
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

from clusters import bootstrap_cluster, launch, monitor
from clusters.runpod import runpod_provider
from clusters.runpod.lifecycle import Pace
from clusters.upload import ROOT, Archive, code_files, pack

HERE = Path(__file__).parent
# The second is what a node imports ahead of the search.
STAND_IN = dict.fromkeys(("search/breakthrough.py", "search/run/search_run.py"), HERE / "stand_in.py")
PLAYED_GPU = {"sitecustomize.py": HERE / "played" / "visible_gpu.py"}


def packed_with(changes: dict[str, Path]) -> Archive:
    """The project's code, some files put in place of its own or beside them."""
    return pack({str(name): ROOT / name for name in code_files()} | changes)


def quicken() -> None:
    """Poll and fetch more often: pods that are played change within a second, and nobody pays for a call."""
    runpod_provider.Pace = partial(Pace, poll_seconds=0.3)
    monitor.POLL_SECONDS, monitor.FETCH_SECONDS, monitor.NODES_SECONDS = 0.5, 2.0, 5.0


def main() -> int:
    # A shell's background job, and so whatever pytest started from one, is born with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options, _, arguments = (" ".join(sys.argv[1:]) + " ").partition(" -- ")
    words = options.split()
    changes = (STAND_IN if "--stand-in" in words else {}) | (PLAYED_GPU if "--played-gpu" in words else {})
    bootstrap_cluster.pack_code = lambda: packed_with(changes)
    quicken()
    return launch.launch_search(
        Path(words[0]),
        arguments.split(),
        out=Path(words[1]),
        yes=True,
        detach="--detach" in words,
        attach="--attach" in words,
    )


if __name__ == "__main__":
    sys.exit(main())
