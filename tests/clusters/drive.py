"""A driver to be killed, interrupted and watched: `launch_search` in a process of its own.

    python -m tests.clusters.drive YAML OUT [--stand-in] [--detach] [--attach] -- ARGUMENTS

With --stand-in the search is tests/clusters/stand_in.py (a small Ray job that behaves like a search: trials
as tasks on every node, checkpoints, resume, Ctrl-C), sent in place of search/breakthrough.py.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from clusters import bootstrap_cluster, launch
from clusters.upload import ROOT, Archive, code_files, pack

STAND_IN = Path(__file__).with_name("stand_in.py")


def pack_with_stand_in() -> Archive:
    files = {str(name): ROOT / name for name in code_files()}
    return pack({**files, "search/breakthrough.py": STAND_IN})


def main() -> int:
    # A shell's background job, and so whatever pytest started from one, is born with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options, _, arguments = (" ".join(sys.argv[1:]) + " ").partition(" -- ")
    words = options.split()
    if "--stand-in" in words:
        bootstrap_cluster.pack_code = pack_with_stand_in
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
