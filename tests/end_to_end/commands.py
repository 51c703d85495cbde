"""The real command on tiny synthetic data, as a person would start, interrupt and resume it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.empty_mlflow import place_empty_mlflow

ROOT = Path(__file__).resolve().parents[2]
DATA = "synthetic:users=120,items=80,ratings=4000"
TINY = [
    *("--trials", "5", "--epochs", "3", "--concurrency", "1"),
    *("--set", "baselines=[bias]", "--set", "baseline_trials=1"),
    *("--set", "families={hybrid_vae: 1}", "--set", "points=[]"),
    *("--set", "reference.epochs=3", "--set", "proposing.startup_trials=2"),
    *("--set", "checkpoint_seconds=0", "--set", "list_trials=3"),
]
PATIENCE_S = 300


def start(out: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """search/breakthrough.py in a session of its own, beside an empty MLflow store; its output in OUT.log."""
    place_empty_mlflow(out.parent / "mlflow.db")
    with open(f"{out}.log", "a") as log:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "search" / "breakthrough.py"), "--out", str(out), *arguments],
            cwd=out.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def ended(process: subprocess.Popen[str]) -> int:
    """Its exit code; killed where it does not end."""
    try:
        return process.wait(PATIENCE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run(out: Path, *arguments: str) -> int:
    return ended(start(out, *arguments))


def log_of(out: Path) -> str:
    return Path(f"{out}.log").read_text()


def log_has(out: Path, *words: str) -> bool:
    """Whether one line of the log holds all of ``words``: Ray may write after the command's last line."""
    return any(all(word in line for word in words) for line in log_of(out).splitlines())


def wait_for(ready: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Until ``ready()``. Fails where the process ends before, or nothing comes."""
    end = time.monotonic() + PATIENCE_S
    while not ready():
        assert process.poll() is None, "the command ended before it could be interrupted"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def tiny_disk(folder: Path, size: str = "64k") -> Iterator[None]:
    """A file system with room for ``size`` at ``folder``: what lies there is hidden meanwhile. Needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def trials_done(out: Path) -> int:
    return len(list(out.glob("trials/*/result.json")))


def next_rating_trial(out: Path) -> Path:
    """The folder of the first trial of the rating track that has not ended."""
    folders = (out / "trials" / f"{number:04d}" for number in range(100))
    return next(folder for folder in folders if not (folder / "result.json").exists())


def trial_rows(out: Path) -> dict[int, Any]:
    """What each trial was asked and came to, without times."""
    rows = {}
    for path in sorted(out.glob("trials/*/result.json")):
        row = json.loads(path.read_text())
        reports = [
            {key: value for key, value in report.items() if key not in {"seconds", "ratings_per_second"}}
            for report in row["reports"]
        ]
        figure = row["list_metrics"].get("ndcg_at_10", row["rmse"])
        rows[row["spec"]["number"]] = (row["spec"], row["status"], row["best_epoch"], figure, reports)
    return rows


def results_of(out: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    return results


def figures_of(out: Path) -> dict[str, Any]:
    """The final figures: everything that a resumed run must repeat."""
    results = results_of(out)
    names = ("formula", "formula_recalibrated", "baselines", "best", "ensemble", "recommender", "lists")
    return {name: results[name] for name in names}


def worker_of(driver: int) -> list[int]:
    """Trial workers that descend from ``driver``."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            names[int(entry.name)] = (entry / "cmdline").read_text()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])

    def descends(pid: int) -> bool:
        while pid > 1:
            if pid == driver:
                return True
            pid = parents.get(pid, 0)
        return False

    # Ray names a worker after its class, and after the task while it runs one.
    titles = ("ray::TrialWorker", "ray::ResourceTrainable")
    return [pid for pid, name in names.items() if name.startswith(titles) and descends(pid)]
