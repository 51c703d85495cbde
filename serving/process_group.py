"""A server in a process group of its own, so that a signal to the whole group reaches it once and alone.

Service managers and terminals send SIGTERM or SIGINT to every process of a group. Ray's own processes would
then die under the server that is still finishing its requests: it waits for them in vain and prints errors.
The parent stays in the caller's group, passes each signal on to the server, and ends with its exit code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SET_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


def run_in_own_group(serve: Callable[[], int]) -> int:
    """Exit code of ``serve``, which runs in a forked process. Call it before any thread is started."""
    if not hasattr(os, "fork"):
        return serve()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # none is lost between fork and handlers
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        end_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        code = 1
        try:
            code = _run(serve)
        except SystemExit as ended:  # Ray's own answer to SIGTERM while it starts
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)  # never back into the parent's stack
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: _pass_on(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
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
                continue  # nobody reads any more


def _pass_on(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        return  # it has just ended


def end_with_parent(parent: int) -> None:
    """This process gets SIGTERM when ``parent`` dies without passing one on, or the thread of it that started
    this process (Linux)."""
    try:
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
