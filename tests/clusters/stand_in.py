"""Behaves like a search, in seconds: trials as Ray tasks on every node, checkpoints, --resume, Ctrl-C, a
release.

    python search/breakthrough.py --trials N --seconds S --out FOLDER [--resume]

Writes trials/NNNN.json (with the node that ran it), results.json and release/, and does not end while a file
`hold` lies in ~/breakthrough. Sent to pods by tests only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path

import ray

from clusters.cluster_info import read_cluster_info
from clusters.trial_sync import pull, push


@ray.remote(num_cpus=1, max_retries=3)
def trial(number: int, seconds: float, folder: str) -> dict[str, object]:
    """Counts to `seconds` in steps, each a checkpoint that another node can go on from."""
    index = Path(folder)
    pull(index)
    index.mkdir(parents=True, exist_ok=True)
    checkpoint = index / "checkpoint.json"
    done = json.loads(checkpoint.read_text())["done"] if checkpoint.exists() else 0.0
    continued = done
    while done < seconds:
        time.sleep(0.25)
        done += 0.25
        checkpoint.write_text(json.dumps({"done": done, "node": os.uname().nodename}))
        push(index)
    node = os.uname().nodename
    result = {"number": number, "node": node, "continued_from": continued}
    (index / "result.json").write_text(json.dumps(result))
    push(index)
    return result


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--trials", type=int)
    options.add_argument("--seconds", type=float)
    options.add_argument("--data", type=Path)
    options.add_argument("--out", type=Path)
    options.add_argument("--resume", action="store_true")
    asked, _ = options.parse_known_args()  # the launcher adds price and caps
    out = asked.out.resolve()
    if asked.resume:
        plan = json.loads((out / "plan.yaml").read_text())
    else:
        plan = {"trials": asked.trials, "seconds": asked.seconds, "rows": 0}
        if asked.data:
            plan["rows"] = sum(len(path.read_text().splitlines()) for path in asked.data.iterdir())
        (out / "trials").mkdir(parents=True)
        (out / "plan.yaml").write_text(json.dumps(plan))
    stops: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: stops.append(1))
    ray.init(log_to_driver=False)
    facts = read_cluster_info()
    assert facts is not None
    messages = "with" if os.environ.get("DISCORD_WEBHOOK_URL") else "without"
    print(f"search: {len(ray.nodes())} nodes, batch {facts.batch_size}, {messages} a webhook")
    results = [json.loads(path.read_text()) for path in sorted((out / "trials").glob("*/result.json"))]
    todo = [n for n in range(plan["trials"]) if n not in {row["number"] for row in results}]
    width = sum(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    running: list[ray.ObjectRef] = []
    while (todo and not stops) or running:
        while todo and not stops and len(running) < max(1, width):
            number = todo.pop(0)
            running.append(trial.remote(number, plan["seconds"], str(out / "trials" / f"{number:04d}")))
        finished, running = ray.wait(running, timeout=0.5)
        for reference in finished:
            results.append(ray.get(reference))
            print(f"search: trial {results[-1]}")
        if len(stops) > 1:
            print("search: stopped now; --resume goes on")
            return 130
    while (Path.home() / "breakthrough" / "hold").exists():
        time.sleep(0.25)
    (out / "release").mkdir(exist_ok=True)
    (out / "release" / "manifest.json").write_text(json.dumps({"complete": True}))
    (out / "results.json").write_text(
        json.dumps({"trials": results, "rows": plan["rows"], "resumed": asked.resume})
    )
    print(f"search: done, {len(results)} trials")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
