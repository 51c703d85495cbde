"""Monitoring of a remote search: its log, a heartbeat for the guards, fetching, and Ctrl-C.

Each poll, every few seconds, is one short SSH command: no connection is held open, so a lost one delays
output and loses none. Monitoring ends with the job's exit status, the loss of the head, or the second Ctrl-C.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import ParamSpec

from clusters import state as states
from clusters.bootstrap_cluster import BASE, CODE
from clusters.cluster_errors import ClusterError, ClusterFailed, SshFailed
from clusters.fetch import Fetcher
from clusters.provider import Log, Provider
from clusters.ssh import Ssh
from clusters.state import ClusterState

Arguments = ParamSpec("Arguments")

POLL_SECONDS = 2.0
FETCH_SECONDS = 15.0
NODES_SECONDS = 30.0
STARTING_SECONDS = 180.0  # a job just submitted has no process yet
DEAD_SECONDS = 10.0  # one that had a process, has none, and left no exit status


class End(Enum):
    """How monitoring ended."""

    FINISHED = "finished"  # the job has an exit status
    LOST = "lost"  # the head, or the job on it, no longer exists
    STOPPED = "stopped"  # the second Ctrl-C


@dataclass(frozen=True)
class MonitorResult:
    end: End
    status: int = 1
    reason: str = ""


@dataclass
class Interrupts:
    """Counts Ctrl-C; the reader decides what each means."""

    count: int = 0
    handled: int = 0
    wake: threading.Event = field(default_factory=threading.Event)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 2 if number == signal.SIGTERM else 1  # whoever sends SIGTERM will not wait
        # Set by another thread: this one may hold the event's lock.
        threading.Thread(target=self.wake.set, daemon=True).start()

    @contextmanager
    def caught(self) -> Iterator[Interrupts]:
        """Count SIGINT and SIGTERM in this block instead of being ended by them (main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in this block, so that rented machines are ended on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def returns_exit_code(
    *, interrupted: str | None = None
) -> Callable[[Callable[Arguments, int]], Callable[Arguments, int]]:
    """A command whose failures become one line on stderr and an exit code: 2 for bad input, 1 for a failure
    while running, 130 for an interrupt or SIGTERM (``interrupted`` is its line, if any)."""

    def decorate(command: Callable[Arguments, int]) -> Callable[Arguments, int]:
        @wraps(command)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
            try:
                with sigterm_as_interrupt():
                    return command(*args, **kwargs)
            except (ClusterError, ClusterFailed) as problem:
                print(f"error: {problem}", file=sys.stderr)
                return 2 if isinstance(problem, ClusterError) else 1
            except KeyboardInterrupt:
                if interrupted:
                    print(interrupted, file=sys.stderr)
                return 130

        return run

    return decorate


def signal_job(head: Ssh, job: str, name: str) -> None:
    """Send a signal to the search's own process on the head."""
    head.run(f"kill -{name} $(cut -d' ' -f1 {BASE}/jobs/{shlex.quote(job)}/pid)")


def poll(head: Ssh, job: str, offset: int, *, quiet: bool = False) -> tuple[dict[str, object], bytes]:
    """Poll the job: its facts, and its log from an offset on.

    Raises:
        SshFailed: the head did not answer.
    """
    words = (
        f"python3 {CODE}/clusters/bootstrap/poll.py {shlex.quote(job)} {offset}{' quiet' if quiet else ''}"
    )
    line, _, output = head.run_bytes(words, timeout=30).partition(b"\n")
    try:
        fact = json.loads(line)
    except ValueError:
        raise SshFailed(f"{head.node.name}: an unexpected answer {line[:100]!r}") from None
    return fact, output


def monitor(
    state: ClusterState,
    provider: Provider,
    *,
    out: Path,
    lost_seconds: float,
    interrupts: Interrupts,
    while_here: Callable[[Path], None] | None,
    log: Log,
) -> MonitorResult:
    """Until the job ends, the head is lost, or Ctrl-C came twice."""
    head = Ssh(state.name, state.head)
    with Fetcher(head, state.run, out, every=FETCH_SECONDS, log=log, after=while_here):
        return _watch(state, provider, head, lost_seconds, interrupts, log)


def _watch(
    state: ClusterState, provider: Provider, head: Ssh, lost_seconds: float, interrupts: Interrupts, log: Log
) -> MonitorResult:
    offset, heard, alive, dropped = 0, time.monotonic(), time.monotonic(), False
    patience = STARTING_SECONDS
    nodes_checked = time.monotonic()
    missing: set[str] = set()
    while True:
        if interrupts.count > interrupts.handled and (
            ended := _forward_interrupt(head, state.job, interrupts, log)
        ):
            return ended
        try:
            fact, output = poll(head, state.job, offset)
        except SshFailed as problem:
            if not dropped:
                log(f"SSH to the head dropped ({problem}); the search goes on there, trying again")
            dropped = True
            reason = _head_is_gone(provider, state)
            if reason or time.monotonic() - heard > lost_seconds:
                return MonitorResult(
                    End.LOST, reason=reason or f"the head has not answered for {lost_seconds:.0f} s"
                )
            interrupts.wake.wait(POLL_SECONDS)
            interrupts.wake.clear()
            continue
        if dropped:
            log("SSH to the head is back")
        heard, dropped, offset = time.monotonic(), False, offset + len(output)
        sys.stdout.buffer.write(output)
        sys.stdout.flush()
        if output:
            continue  # more may be waiting
        if fact["exit"] is not None:
            return MonitorResult(End.FINISHED, status=int(str(fact["exit"])))
        if fact["running"]:
            alive, patience = time.monotonic(), DEAD_SECONDS
        elif time.monotonic() - alive > patience:
            return MonitorResult(End.LOST, reason="the search's process on the head is gone")
        if time.monotonic() - nodes_checked > NODES_SECONDS:
            nodes_checked = time.monotonic()
            missing = _report_dead_nodes(provider, state, missing, log)
        interrupts.wake.wait(POLL_SECONDS)
        interrupts.wake.clear()


def _forward_interrupt(head: Ssh, job: str, interrupts: Interrupts, log: Log) -> MonitorResult | None:
    """Forward Ctrl-C: the first lets the search finish early, the second stops it now."""
    interrupts.handled = interrupts.count
    try:
        signal_job(head, job, "INT")
        if interrupts.count == 1:
            log("Ctrl-C: no new trials; running ones end at a checkpoint, then ensemble, report, release")
            log("Ctrl-C again stops the search now and ends the cluster")
            return None
        signal_job(head, job, "INT")
    except SshFailed as problem:
        if interrupts.count == 1:
            log(f"the search could not be signalled ({problem}); Ctrl-C again ends the cluster")
            return None
    return MonitorResult(End.STOPPED, status=130)


def _head_is_gone(provider: Provider, state: ClusterState) -> str:
    """Why the head cannot come back, according to the provider; empty where it may (or is unknown)."""
    if states.load(state.name).phase == "ended":
        return "the cluster was ended"
    try:
        nodes = {node.id: node for node in provider.inspect(state)}
    except (ClusterError, ClusterFailed):
        return ""
    node = nodes.get(state.head.id)
    if node is None:
        return "the head's pod is gone"
    return "" if node.up else f"the head's pod is {node.detail}"


def _report_dead_nodes(provider: Provider, state: ClusterState, reported: set[str], log: Log) -> set[str]:
    """Log each dead worker pod once; its trials continue elsewhere."""
    try:
        up = {node.id for node in provider.inspect(state) if node.up}
    except (ClusterError, ClusterFailed):
        return reported
    dead = {node.id for node in state.nodes} - up
    for node in state.nodes:
        if node.id in dead - reported:
            log(f"{node.name} has died; its trials continue elsewhere from their checkpoints")
    if dead - reported:
        states.record_ended(state.name, dead - reported)
    return dead
