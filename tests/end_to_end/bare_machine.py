"""A machine with as little as possible, in a mount namespace: needs root, changes nothing outside it.

The command runs as a user id that no password file knows, without shared memory to speak of, under a
container's CPU quota, with a TMPDIR too long for sockets. The one capability left to it reads files of
others, since a test's interpreter may lie in root's folders: it can write nothing but its own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.end_to_end.commands import ROOT

USER = 12345  # nobody has it
CORES = 1
CAPABILITIES = "-all,+dac_read_search"
DROP_ROOT = [
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"),
    "--securebits=+no_setuid_fixup",  # access(2) heeds the capability below, as open(2) does
    *(f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}", f"--bounding-set={CAPABILITIES}"),
]


def start_bare(
    folder: Path,
    words: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    user: bool = True,
    read_only: Path | None = None,
) -> subprocess.Popen[str]:
    """``words`` on a bare machine, its output in ``log``.

    Args:
        folder: Where it runs; given to the user, and its TMPDIR lies in it.
        words: The command, without the interpreter.
        log: Takes standard output and error.
        environment: All variables besides PATH, PYTHONPATH and TMPDIR.
        user: As the unknown user; else as root.
        read_only: A folder that nobody may write.
    """
    long = folder / ("long" * 30)
    long.mkdir(parents=True, exist_ok=True)
    for path in (folder, long):
        os.chown(path, USER if user else 0, USER if user else 0)
    mounts = [
        "mount -t tmpfs -o size=64k,mode=1777 tmpfs /dev/shm",
        "mount -t tmpfs tmpfs /sys/fs/cgroup",
        f"echo {CORES}00000 100000 > /sys/fs/cgroup/cpu.max",
    ]
    if read_only is not None:
        mounts.append(f"mount -t tmpfs -o ro tmpfs {shlex.quote(str(read_only))}")
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(long),
        **environment,
    }
    command = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
    command = [*(DROP_ROOT if user else []), *command, sys.executable, *words]
    script = "; ".join(["set -e", *mounts, f"cd {shlex.quote(str(folder))}", f"exec {shlex.join(command)}"])
    with log.open("w") as out:
        return subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", script],
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
