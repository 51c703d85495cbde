"""Run one command as the cluster's job, and leave traces that outlive the connection: log, pid, exit status.

Ray's job manager starts it on the head; the secrets file becomes environment here, so that nothing of it
stands in the job's record, which Ray's job API shows to whoever asks.

    python clusters/bootstrap/job.py NAME -- python search/breakthrough.py ...      in ~/breakthrough/code
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

BASE = Path.home() / "breakthrough"


def refresh_busy_stamp(stop: threading.Event) -> None:
    """Touch the stamp that both guards read as "a job is running"."""
    while not stop.wait(5):
        (BASE / "busy").touch()


def main() -> int:
    name, _, *command = sys.argv[1:]
    traces = BASE / "jobs" / name
    traces.mkdir(parents=True, exist_ok=True)
    (traces / "exit").unlink(missing_ok=True)
    secrets = json.loads((BASE / "secrets.json").read_text())
    environment = os.environ | secrets | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(BASE / "code")}
    # Ray's job manager names its cluster in RAY_ADDRESS; a search joins only what this variable names.
    environment["RECSYS_RAY_ADDRESS"] = os.environ.get("RAY_ADDRESS") or "auto"
    # Ray sets this to the CPUs of the job, one, and torch would count the host's cores: the driver builds the
    # ensemble with all that the container may use.
    environment["OMP_NUM_THREADS"] = secrets.get("OMP_NUM_THREADS", (BASE / "cores").read_text())
    environment["BREAKTHROUGH_CLUSTER_FACTS"] = str(BASE / "facts.json")
    (BASE / "busy").touch()
    stop = threading.Event()
    threading.Thread(target=refresh_busy_stamp, args=(stop,), daemon=True).start()
    log = (traces / "log").open("ab", buffering=0)
    # Ray blocks SIGINT in everything it starts, and a blocked signal is inherited.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # Ray stops a job by SIGTERM; the search knows SIGINT: leave a resumable state, now.
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (traces / "pid").write_text(f"{child.pid} {os.getpid()}")
    assert child.stdout is not None
    while chunk := os.read(child.stdout.fileno(), 65536):
        log.write(chunk)
        os.write(1, chunk)
    status = child.wait()
    status = 128 - status if status < 0 else status
    stop.set()
    (BASE / "busy").touch()
    partial = traces / "exit.part"
    partial.write_text(f"{status} {time.time():.0f}")
    partial.rename(traces / "exit")
    return status


if __name__ == "__main__":
    sys.exit(main())
