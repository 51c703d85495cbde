"""The watchdog on this machine: ends a cluster at its cap, its hours, or when idle, even if the driver died.

A process of its own, started before the first create call, in its own session. It fetches what it can, ends
the pods, writes why into the state, and stops when the cluster is ended, whoever ended it.

    python -m clusters.watchdog NAME      started by the launcher; its log is watchdog.log in the state
    folder
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from clusters import state as states
from clusters.budget_args import teardown_seconds
from clusters.cluster_errors import ClusterError, ClusterFailed, SshFailed
from clusters.fetch import fetch_last
from clusters.monitor import poll
from clusters.provider import Provider, make_provider
from clusters.spec import RentedSpec
from clusters.ssh import Ssh
from clusters.state import ClusterState

CHECK_SECONDS = 10.0
FETCH_SECONDS = 1800.0  # at most, for the last fetch
ORPHAN_SECONDS = 30.0  # after this long without a driver, renting counts as abandoned


def log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def start_watchdog(name: str) -> int:
    """Start the watchdog of a cluster; its process id."""
    log = os.open(states.folder(name) / "watchdog.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    child = subprocess.Popen(
        [sys.executable, "-m", "clusters.watchdog", name],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    os.close(log)
    states.update(name, watchdog_pid=child.pid)
    return child.pid


def alive(pid: int) -> bool:
    """Whether a process of this account is there (a zombie is not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def margin_seconds(spec: RentedSpec, *, driver_fetches: bool = False) -> float:
    """Seconds before a cap at which ending begins: fetching and ending take time that is billed.

    A living driver fetches by itself until `teardown_seconds` before the cap, and is not cut short.
    """
    if driver_fetches:
        return 0.8 * teardown_seconds(spec)
    seconds = spec.max_hours * 3600
    return min(120.0, max(20.0, 0.03 * seconds), 0.25 * seconds)


def reason_to_end(
    spec: RentedSpec,
    state: ClusterState,
    *,
    now: float,
    busy_age: float | None,
    driver_gone_for: float,
    job_ended: bool = False,
) -> str:
    """Why the cluster must end now, or empty.

    Args:
        spec: limits.
        state: the cluster.
        now: seconds since the epoch.
        busy_age: seconds since a job ran; None where unknown.
        driver_gone_for: seconds since the command that rented it was last seen.
        job_ended: whether the search has an exit status.
    """
    driver_lives = driver_gone_for <= ORPHAN_SECONDS
    promised = driver_lives and state.phase in ("searching", "fetching") and not state.detached
    margin = margin_seconds(spec, driver_fetches=promised)
    if now - state.created > spec.max_hours * 3600 - margin:
        return f"max_hours {spec.max_hours:g}"
    spent = state.spent_usd(now + margin)
    if spent >= spec.max_usd:
        return f"max_usd ${spec.max_usd:.2f}"
    if state.phase in ("new", "renting", "starting") and driver_gone_for > ORPHAN_SECONDS:
        return "the command that was renting it is gone"
    if state.phase == "fetching" and driver_lives:
        return ""
    if job_ended and not driver_lives:
        return "its search has ended, and the command that would fetch it is gone"
    ready = float(state.notes.get("ready", now))
    if busy_age is not None and min(busy_age, now - ready) > spec.idle_minutes * 60:
        return f"no job has run for {spec.idle_minutes:g} minutes"
    return ""


def job_activity(state: ClusterState) -> tuple[float | None, bool]:
    """Seconds since a job last ran on the cluster (None where that cannot be known now), and whether the
    search has ended.

    A cluster brought up by hand is owned by this machine: the poll counts as its heartbeat. A
    search's driver sends its own heartbeat; without it there is none.
    """
    if state.phase not in ("ready", "searching", "fetching"):
        return None, False
    try:
        fact, _ = poll(Ssh(state.name, state.head), state.job or "none", 1 << 60, quiet=bool(state.job))
    except (SshFailed, ClusterFailed):
        return None, False
    age = fact["busy_age"]
    return float("inf") if age is None else float(str(age)), bool(state.job) and fact["exit"] is not None


def fetch_until(spec: RentedSpec, state: ClusterState, *, now: float) -> float:
    """When the last fetch must be over (seconds since the epoch): half an hour, and money left to end."""
    deadline = state.deadline(max_usd=spec.max_usd, max_hours=spec.max_hours, now=now)
    return min(now + FETCH_SECONDS, deadline - teardown_seconds(spec))


def end(provider: Provider, state: ClusterState, reason: str) -> bool:
    """Fetch the run while money is left, end the pods, record why.

    Returns False where some remain: it is tried again.
    """
    log(f"ending cluster {state.name}: {reason}")
    spec = state.cluster_spec
    if state.phase in ("searching", "fetching") and state.out and isinstance(spec, RentedSpec):
        until = fetch_until(spec, state, now=time.time())
        try:
            fetch_last(Ssh(state.name, state.head), state.run, Path(state.out), log=log, until=until)
        except (ClusterFailed, OSError) as problem:
            log(f"the last fetch failed: {problem}")
    try:
        bill = provider.end(state, log=log)
    except (ClusterError, ClusterFailed) as problem:
        log(str(problem))
        return False
    log(bill.text())
    notes = {**states.load(state.name).notes, "ended_by": f"the watchdog: {reason}"}
    states.update(state.name, phase="ended", notes=notes)
    return True


def watch_cluster(name: str) -> None:
    """Watch one cluster until it is ended."""
    provider: Provider | None = None
    driver_seen = checked_at = time.time()
    age: float | None = None
    job_ended = False
    while True:
        state = states.load(name)
        if state.phase == "ended":
            return
        spec = state.cluster_spec
        if not isinstance(spec, RentedSpec):
            log(f"cluster {name} is kind: {spec.kind}: there is nothing to end")
            return
        now = time.time()
        if alive(state.driver_pid):
            driver_seen = now
        check_seconds = min(CHECK_SECONDS, margin_seconds(spec) / 2 + 0.5)
        if now - checked_at > min(60.0, spec.idle_minutes * 20):
            (age, job_ended), checked_at = job_activity(state), now
        reason = reason_to_end(
            spec,
            state,
            now=now,
            busy_age=age,
            driver_gone_for=now - driver_seen,
            job_ended=job_ended,
        )
        if reason:
            provider = provider or make_provider(spec.kind)
            if end(provider, state, reason):
                return
        time.sleep(check_seconds)


if __name__ == "__main__":
    os.umask(0o077)
    watch_cluster(sys.argv[1])
