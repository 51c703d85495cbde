"""Runs a server in a process group of its own, so that group signals do not reach Ray's processes.

Service managers and terminals send SIGTERM or SIGINT to every process of a group. Ray's processes would end
while the server is still finishing requests, which then fail with errors. The parent stays in the caller's
group, forwards each signal to the server, and ends with its exit code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SET_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


def run_in_own_group(serve: Callable[[], int]) -> int:
    """Exit code of ``serve``, which runs in a forked process. Call it before any thread is started."""
    if not hasattr(os, "fork"):
        return serve()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # none is lost between fork and handlers
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        end_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        code = 1
        try:
            code = _run(serve)
        except SystemExit as ended:  # Ray's own answer to SIGTERM while it starts
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)  # never return into the parent's stack
    for number in FORWARDED:
        signal.signal(number, lambda number, _: _forward(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _run(serve: Callable[[], int]) -> int:
    from recsys.errors import exit_code

    try:
        return exit_code(serve)
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue  # the reader is gone


def _forward(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        return  # it has just ended


def end_with_parent(parent: int) -> None:
    """Send SIGTERM to this process when ``parent``, or its thread that started this process, dies (Linux)."""
    try:
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
