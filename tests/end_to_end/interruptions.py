"""Runs that were cut off and gone on with, beside one that nobody disturbed: a table of their figures.

    python -m tests.end_to_end.interruptions --out runs/interruptions

Real signals to real processes and really full devices, one trial at a time with a fixed number of trials.
As root there is one more way: a file system that fills up in the middle of a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

from tests.end_to_end.commands import (
    DATA,
    TINY,
    ended,
    figures_of,
    log_has,
    log_of,
    next_rating_trial,
    results_of,
    run,
    start,
    tiny_disk,
    trial_rows,
    trials_done,
    wait_for,
    worker_of,
)

SILENCE_SECONDS = 10  # a busy machine's epoch of milliseconds is not that slow
Disturb = Callable[[Path, "Popen[str]"], int]


def driver_killed(out: Path, process: Popen[str]) -> int:
    process.send_signal(signal.SIGKILL)
    process.wait()
    return run(out, "--resume")


def worker_killed(out: Path, process: Popen[str]) -> int:
    wait_for(lambda: worker_of(process.pid), process)
    os.kill(worker_of(process.pid)[0], signal.SIGKILL)
    return ended(process)


def interrupted(out: Path, process: Popen[str]) -> int:
    process.send_signal(signal.SIGINT)
    assert ended(process) == 130
    return run(out, "--resume")


def disk_full(out: Path, process: Popen[str]) -> int:
    process.send_signal(signal.SIGKILL)
    process.wait()
    journal = out / "events.jsonl"
    kept = journal.rename(out / "events.kept")
    journal.symlink_to("/dev/full")
    assert run(out, "--resume") == 1
    journal.unlink()
    kept.rename(journal)
    return run(out, "--resume")


def disk_full_under_a_checkpoint(out: Path, process: Popen[str]) -> int:
    """The trial that was running writes its next checkpoint where there is room for a part of it only."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    with tiny_disk(next_rating_trial(out)):
        assert run(out, "--resume") == 1
    assert log_has(out, "No space left on device")
    return run(out, "--resume")


def worker_hung(out: Path, process: Popen[str]) -> int:
    """Stopped, not dead: the search itself has to notice, and end it."""
    wait_for(lambda: worker_of(process.pid), process)
    os.kill(worker_of(process.pid)[0], signal.SIGSTOP)
    code = ended(process)
    assert "unresponsive: " in log_of(out)
    return code


WAYS: dict[str, Disturb] = {
    "driver killed (SIGKILL)": driver_killed,
    "worker and its trial killed": worker_killed,
    "Ctrl-C, then resumed": interrupted,
    "killed, then a full disk": disk_full,
    "worker hung (SIGSTOP)": worker_hung,
}


if os.geteuid() == 0:
    WAYS["disk full in mid-checkpoint"] = disk_full_under_a_checkpoint


def line(name: str, out: Path, whole: Path) -> str:
    test = results_of(out)["ensemble"]["test"]
    same = trial_rows(out) == trial_rows(whole) and figures_of(out) == figures_of(whole)
    figures = f"{test['loss']:.6f} / {test['rmse']:.6f}"
    return f"{name:<30}{trials_done(out):>7}{figures:>28}{'yes' if same else 'NO':>22}"


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--only", default="", help="ways whose name holds these words")
    options = command.parse_args()
    home: Path = options.out.resolve()
    home.mkdir(parents=True, exist_ok=True)
    whole = home / "whole"
    assert run(whole, "--data", DATA, *TINY) == 0, log_of(whole)
    print(f"{'':<30}{'trials':>7}{'ensemble, test loss / rmse':>28}{'all figures the same':>22}")
    print(line("undisturbed", whole, whole), flush=True)
    for number, (name, disturb) in enumerate(WAYS.items()):
        if options.only not in name:
            continue
        out = home / f"disturbed-{number}"
        process = start(out, "--data", DATA, *TINY, "--set", f"silence_seconds={SILENCE_SECONDS}")
        wait_for(lambda out=out: trials_done(out) >= 2, process)
        assert disturb(out, process) == 0, log_of(out)
        print(line(name, out, whole), flush=True)


if __name__ == "__main__":
    main()
