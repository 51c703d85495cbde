"""One search on one pod and on two, on the played cloud: what renting adds, what a second pod brings.

    python -m tests.benchmarks.rented            needs root, iproute2, openssh-server, rsync; 5 minutes

Each pod is pinned to a core of its own, so that two pods are twice one as far as that goes; they still
share memory, caches and disk, and the head's core also runs the search's driver and Ray's own services.
Both searches make the same draws (no trial learns from another) and train one trial a pod at a time.

"The pod's own start" is the service's: from the create call until the container runs, by the service's
clock. Everything after it, until the first trial is started, is ours: seeing that SSH answers, sending the
code, Ray, the job, the search's imports and its data, and Tune's first worker.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.clusters.played.around import Ran, ledger_text, run, whole_play
from tests.clusters.played.cloud import Cloud

POD = {
    "kind": "runpod",
    "gpus": [{"id": "NVIDIA RTX A6000"}],
    "image": "played",
    "data_centers": ["EU-RO-1"],
    "max_usd_per_hour": 2.0,
    "max_usd": 1.0,
    "max_hours": 0.3,
    "ray_cpus": 1,
    "object_store_gb": 0.15,
}
PLAN = {
    "families": {"hybrid_vae": 1},
    "baselines": [],
    "reference": {"enabled": False},
    "pruning": {"enabled": False},
    "proposing": {"startup_trials": 99},
}


@dataclass(frozen=True)
class Figures:
    """Seconds; `steps` from the create call on, in order, the pod's own start first."""

    pods: int
    steps: dict[str, float]
    search: float  # from the first trial's start to the last trial's end
    trial: float  # mean of the trials' own seconds
    trials: int
    rmse: float
    sent: str

    @property
    def ours(self) -> float:
        return sum(self.steps.values()) - self.steps["the pod's own start"]


def measure(pods: int, *, trials: int, epochs: int, data: str, folder: Path) -> Figures:
    """One search from an empty account to a release here."""
    cluster, plan, out = folder / f"{pods}.yaml", folder / "plan.yaml", folder / f"run-{pods}"
    cluster.write_text(yaml.safe_dump({**POD, "pods": pods, "global_networking": pods > 1}))
    plan.write_text(yaml.safe_dump({**PLAN, "data": data, "trials": trials, "epochs": epochs}))
    command = ["python", "search/breakthrough.py", "--cluster", str(cluster), "--yes", "--out", str(out)]
    command += ["--plan", str(plan), "--concurrency", str(pods)]
    with whole_play(boot_seconds=2.0, one_core_each=True) as (cloud, url):
        print(f"\n$ {' '.join(command)}")
        ran = run(command, cloud, url)
        print(ledger_text(cloud))
        if ran.status or cloud.living():
            raise SystemExit(f"the search ended with status {ran.status}")
        return figures(pods, ran, cloud, out)


def figures(pods: int, ran: Ran, cloud: Cloud, out: Path) -> Figures:
    """From what the command said, the service's clock, and the run's own journal."""
    journal = [json.loads(line) for line in (out / "tracking" / "journal.jsonl").read_text().splitlines()]
    messages = [entry for entry in journal if entry["key"] != "run"]
    ended = [entry["at"] for entry in messages if "status" in entry]
    created = min(pod.created for pod in cloud.pods.values())
    marks = {
        "the pod's own start": max(pod.started or 0.0 for pod in cloud.pods.values()),
        "SSH seen to answer": last_line(ran, "answers SSH"),
        "code sent, guard, packages looked at, Ray": last_line(ran, "Ray is up on"),
        "job submitted": last_line(ran, "search submitted"),
        "Ray starts the job; imports, data": journal[0]["at"],
        "Ray Tune's first worker": messages[0]["at"],
    }
    steps, before = {}, created
    for name, at in marks.items():
        steps[name], before = at - before, at
    results: list[dict[str, Any]] = [
        json.loads(path.read_text()) for path in sorted(out.glob("trials/*/result.json"))
    ]
    return Figures(
        pods=pods,
        steps=steps,
        search=max(ended) - messages[0]["at"],
        trial=statistics.fmean(row["seconds"] for row in results),
        trials=len(results),
        rmse=min(row["rmse"] for row in results),
        sent=next(line for _, line in ran.lines if "over the wire" in line).removeprefix("cluster: "),
    )


def last_line(ran: Ran, words: str) -> float:
    return max(at for at, line in ran.lines if words in line)


def table(found: list[Figures]) -> str:
    """Both tables, as Markdown."""
    head = "| seconds | " + " | ".join(f"{entry.pods} pod(s)" for entry in found) + " |"
    lines = ["", head, "|---|" + "---|" * len(found)]
    for name in found[0].steps:
        lines.append(f"| {name} | " + " | ".join(f"{entry.steps[name]:.1f}" for entry in found) + " |")
    lines.append("| **ours: all but the first line** | " + " | ".join(f"{o.ours:.1f}" for o in found) + " |")
    lines += ["", head, "|---|" + "---|" * len(found)]
    rows = {
        "first trial's start to last trial's end": [f"{entry.search:.1f}" for entry in found],
        "mean of a trial": [f"{entry.trial:.1f}" for entry in found],
        "trials": [str(entry.trials) for entry in found],
        "as fast as one pod": [f"{found[0].search / entry.search:.2f} x" for entry in found],
        "best rmse on valid, stars": [f"{entry.rmse:.4f}" for entry in found],
    }
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join([*lines, "", *(f"{entry.pods} pod(s): {entry.sent}" for entry in found)])


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.rented",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--pods", type=int, nargs="+", default=[1, 2])
    options.add_argument("--trials", type=int, default=8)
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--data", default="ml-100k", help="a name that pods can fetch, or synthetic:...")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="rented-") as folder:
        result = [
            measure(pods, trials=asked.trials, epochs=asked.epochs, data=asked.data, folder=Path(folder))
            for pods in asked.pods
        ]
    print(table(result))


if __name__ == "__main__":
    main()
