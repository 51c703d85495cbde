"""The guard inside a pod: ends the pod even when the machine that rented it is gone.

It ends the pod at its deadline (a moment before it, so that nothing is billed after); when nobody has been
heard from for `silence_seconds` (not after a detach); when no job has run for `idle_seconds`; and, on a
worker, when the head has been out of reach for `silence_seconds`. On the head the run is first saved to the
object store, where one is named: from `save_seconds` before the deadline, and cut short at it.
How a machine ends itself is the provider's to say (`SelfTermination`); it tries for ever. Settings are read
from ~/breakthrough/guard.json at every look, so that a later word (--detach) holds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

BASE = Path.home() / "breakthrough"
SAVING_SECONDS = 900.0  # at most, where the deadline is further away
Settings = dict[str, Any]


def log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def container_environment() -> dict[str, str]:
    """The environment that the container started with; an SSH session does not have it."""
    try:
        pairs = Path("/proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        pairs = []
    environment = dict(pair.decode(errors="replace").split("=", 1) for pair in pairs if b"=" in pair)
    return environment | dict(os.environ)


def age(name: str, now: float) -> float:
    """Seconds since a stamp was touched; since for ever where there is none."""
    try:
        return now - (BASE / name).stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def head_answers(settings: Settings) -> bool:
    try:
        socket.create_connection((settings["head_ip"], 6379), timeout=5).close()
    except OSError:
        return False
    return True


def last_moment(settings: Settings) -> float:
    """When ending must begin (seconds since the epoch) for the pod to be gone at its deadline."""
    return float(settings["deadline"]) - float(settings.get("end_seconds", 0.0))


def must_save(settings: Settings, *, now: float) -> bool:
    """Whether the deadline is so near that the run is saved now, while the search may still run."""
    seconds = float(settings.get("save_seconds", 0.0))
    return seconds > 0 and now >= last_moment(settings) - seconds


def seconds_to_next_check(settings: Settings, *, now: float) -> float:
    """Seconds to sleep: no longer than to the next moment at which something must be done."""
    last = last_moment(settings)
    moments = [last - float(settings.get("save_seconds", 0.0)) - now, last - now]
    ahead = [seconds for seconds in moments if seconds > 0]
    return max(0.05, min([float(settings.get("check_seconds", 10.0)), *ahead]))


def reason_to_end(settings: Settings, *, now: float, started: float, head_seen: float) -> str:
    """Why the pod must end now; empty while it need not."""
    if now >= last_moment(settings):
        return "its deadline has come (max_hours or max_usd)"
    if settings["role"] == "worker":
        if now - head_seen > settings["silence_seconds"]:
            return f"its head has been out of reach for {settings['silence_seconds']:.0f} s"
        return ""
    if not settings["detached"] and min(age("heartbeat", now), now - started) > settings["silence_seconds"]:
        return f"nobody has been heard from for {settings['silence_seconds']:.0f} s"
    # Installing and starting have no job yet, but somebody is there.
    if min(age("busy", now), age("heartbeat", now), now - started) > settings["idle_seconds"]:
        return f"no job has run for {settings['idle_seconds']:.0f} s"
    return ""


def save_run(settings: Settings, *, now: float) -> None:
    """Copy the run folders to where the YAML keeps them, until the pod's last moment at most.

    A failure is logged and does not prevent the end.
    """
    runs = BASE / "code" / "runs"
    target = settings.get("save_to", "")
    if settings["role"] != "head" or not target or not runs.exists():
        return
    if runs.is_symlink():
        log(f"the run lies on the volume, in {runs.resolve()}")
        return
    seconds = min(SAVING_SECONDS, last_moment(settings) - now)
    if seconds <= 0:
        log("the run is not saved again: no time is left")
        return
    log(f"saving the run to {target}, for {seconds:.0f} s at most")
    try:
        python, secrets = sys.executable, {}
        if "://" in target:
            python = (BASE / "python").read_text()
            secrets = json.loads((BASE / "secrets.json").read_text())
        command = [python, str(Path(__file__).with_name("save.py")), str(runs), target]
        done = subprocess.run(
            command, env=os.environ | secrets, check=True, timeout=seconds, capture_output=True, text=True
        )
        log(f"saved {done.stdout.strip()}")
    except subprocess.CalledProcessError as problem:
        log(f"the run could not be saved: {problem.stderr.strip().rpartition(chr(10))[2]}")
    except Exception as problem:
        log(f"the run could not be saved: {problem}")


def end_pod(settings: Settings) -> None:
    """End this machine by its provider's request (`SelfTermination`), repeated until it is gone."""
    environment, how = container_environment(), settings["end"]
    key, machine = environment.get(how["key_variable"], ""), environment.get(how["id_variable"], "")
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "User-Agent": "breakthrough",
    }
    while True:
        for method, template, body in how["calls"]:
            url = template.replace("{id}", machine)
            path = urllib.parse.urlsplit(url).path
            request = urllib.request.Request(
                url, data=None if body is None else body.encode(), headers=headers, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    log(f"{method} {path}: {answer.status}")
            except urllib.error.HTTPError as problem:
                log(f"{method} {path}: {problem.code}")
            except OSError as problem:
                log(f"{method} {path}: {type(problem).__name__}")
        if how["command"]:
            log(f"{' '.join(how['command'])}: {subprocess.run(how['command']).returncode}")
        time.sleep(20)


def latest_clock(
    wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> Callable[[], float]:
    """Unix seconds by the later of the wall clock and of what it was at the start plus what has passed: a
    clock that is set back does not prolong the rental."""
    origin = wall() - monotonic()
    return lambda: max(wall(), origin + monotonic())


def main() -> None:
    clock = latest_clock()
    started = head_seen = clock()
    saved = False
    while True:
        try:
            settings = json.loads((BASE / "guard.json").read_text())
        except (OSError, ValueError):
            time.sleep(1)
            continue
        now = clock()
        if settings["role"] == "worker" and head_answers(settings):
            head_seen = now
        reason = reason_to_end(settings, now=now, started=started, head_seen=head_seen)
        if reason or (must_save(settings, now=now) and not saved):
            if reason:
                log(f"ending this pod: {reason}")
            save_run(settings, now=now)
            saved = True
            if reason:
                end_pod(settings)
        time.sleep(seconds_to_next_check(settings, now=clock()))


if __name__ == "__main__":
    main()
