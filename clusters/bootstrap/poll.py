"""Poll of a job: prints a line of JSON, then the log from an offset on. Touches the heartbeat.

python3 poll.py NAME OFFSET [quiet]       quiet: look without being "heard from" (the watchdog does)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BASE = Path.home() / "breakthrough"
MOST_BYTES = 1 << 20  # of log a poll


def main() -> None:
    name, offset = sys.argv[1], int(sys.argv[2])
    if "quiet" not in sys.argv[3:]:
        (BASE / "heartbeat").touch()
    traces = BASE / "jobs" / name
    fact: dict[str, float | None] = {"exit": None, "running": False, "busy_age": None, "log": 0}
    if (traces / "exit").exists():
        fact["exit"] = int((traces / "exit").read_text().split()[0])
    if (traces / "pid").exists():
        fact["running"] = all(Path(f"/proc/{pid}").exists() for pid in (traces / "pid").read_text().split())
    if (BASE / "busy").exists():
        fact["busy_age"] = time.time() - (BASE / "busy").stat().st_mtime
    log = b""
    if (traces / "log").exists():
        with (traces / "log").open("rb") as file:
            file.seek(offset)
            log = file.read(MOST_BYTES)
    fact["log"] = len(log)
    sys.stdout.buffer.write(json.dumps(fact).encode() + b"\n" + log)


if __name__ == "__main__":
    main()
