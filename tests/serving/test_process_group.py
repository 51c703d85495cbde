"""A server that is ended while it starts: its own exit code, and nothing that looks like a fault."""

from __future__ import annotations

import subprocess
import sys


def run(body: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys\nfrom serving.process_group import run_in_own_group\n{body}"
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_what_ray_raises_for_sigterm_while_it_starts_is_no_traceback() -> None:
    done = run("sys.exit(run_in_own_group(lambda: sys.exit(15)))")
    assert (done.returncode, done.stderr) == (15, "")


def test_a_fault_is_shown_whole() -> None:
    done = run("sys.exit(run_in_own_group(lambda: 1 // 0))")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_two_signals_at_once_end_a_server() -> None:
    """The second comes while the first one's handler holds the lock that waiting for the end uses."""
    body = """
import signal, threading
from serving.stop_signals import stop_event
notify, again = threading.Condition.notify_all, [signal.SIGTERM]
def notify_interrupted(condition):
    if again and threading.get_ident() == threading.main_thread().ident:
        signal.raise_signal(again.pop())
    notify(condition)
def main():
    stop = stop_event(signal.SIGTERM)
    threading.Timer(0.2, lambda: (setattr(threading.Condition, "notify_all", notify_interrupted),
                                  signal.raise_signal(signal.SIGTERM))).start()
    while not stop.wait(0.5):
        pass
    return 0
sys.exit(run_in_own_group(main))
"""
    assert run(body).returncode == 0
