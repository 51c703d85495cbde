"""One whole run in which memory runs out, training explodes and the posterior collapses, for real.

    python -m tests.end_to_end.trouble --out runs/trouble

- memory: an allocator that refuses (refusing_allocator.c, preloaded into every process of the run) lets a
  trial have a little less than batch 2048 needs; what both batch sizes need is measured first. oneDNN's
  cache is off: on a model this small what it keeps of the failed batch would be half of what there is.
- explosion: a learning rate of 0.1 without normalisation.
- collapse: the formula with a KL weight that rises to the bound.

Nothing of ours is replaced. Prints what was seen, done, and came of it, from results.json. Needs a C
compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.end_to_end.commands import DATA, ROOT, TINY, ended, log_of, results_of, start

HERE = Path(__file__).parent
EPOCHS = 5
SHORT_OF = 2**19  # bytes
QUIET_ONEDNN = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0"}
LARGE = {"normalisation": "layer"}
POINTS: dict[str, dict[str, Any]] = {
    "memory": {"model": LARGE},
    "explosion": {"model": {"normalisation": "none"}, "training": {"learning_rate": 0.1}},
    "collapse": {"training": {"kl_schedule": "cosine", "kl_start": 0.005, "kl_end": 0.015}},
}


@dataclass(frozen=True)
class Memory:
    """Bytes that a trial holds at most: at batch 2048, at 1536, and what the allocator lets it have."""

    large: int
    small: int

    @property
    def cap(self) -> int:
        return self.large - SHORT_OF


def build_allocator(folder: Path) -> Path:
    """The compiled shim."""
    library = folder / "refusing.so"
    source = HERE / "refusing_allocator.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def measure(library: Path) -> Memory:
    """What steps of both batch sizes hold, each in a process of its own."""
    environment = {**os.environ, **QUIET_ONEDNN, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    held = []
    for batch in (2048, 1536):
        config = json.dumps({**LARGE, "batch_size": batch})
        command = [sys.executable, "-m", "tests.end_to_end.step_memory", DATA, config]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        held.append(int(done.stdout))
    return Memory(*held)


def troubled_run(out: Path) -> Memory:
    """The run, in ``out``; raises where it does not end well."""
    library = build_allocator(out.parent)
    memory = measure(library)
    for name, fields in POINTS.items():
        content = {"about": name, "family": "hybrid_vae", **fields}
        (out.parent / f"{name}.yaml").write_text(yaml.safe_dump(content))
    points = ", ".join(str(out.parent / f"{name}.yaml") for name in POINTS)
    arguments = [*TINY, "--epochs", str(EPOCHS), "--set", f"points=[{points}]"]
    arguments += [
        "--set",
        "template=hybrid_vae_baseline",
        "--set",
        "reference.enabled=false",
        "--set",
        "pruning.enabled=false",
    ]
    process = start(
        out,
        *("--data", DATA, *arguments),
        environment={**QUIET_ONEDNN, "LD_PRELOAD": str(library), "REFUSE_ABOVE_BYTES": str(memory.cap)},
    )
    if ended(process) != 0:
        raise SystemExit(log_of(out))
    return memory


def told(results: Mapping[str, Any]) -> list[str]:
    """Signs and answers in time order, a line each."""
    events = sorted([*results["warnings"], *results["contingencies"]], key=lambda event: event["at"])
    lines = []
    for event in events:
        line = f"trial {event['trial']} epoch {event['epoch']}: {event['kind']}: {event['message']}"
        line += f" -> {event['action']}" if event["action"] else ""
        lines.append(line + (f" => {event['outcome']}" if event["outcome"] else ""))
    return lines


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--out", type=Path, required=True)
    options = command.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    memory = troubled_run(options.out.resolve())
    print(f"batch 2048 holds {memory.large:,} bytes, 1536 {memory.small:,}; allowed {memory.cap:,}")
    results = results_of(options.out)
    print("\n".join(told(results)))
    for name in ("formula", "best", "ensemble"):
        test = results[name]["test"]
        print(f"{name}: test loss {test['loss']:.4f}, rmse {test['rmse']:.4f}")


if __name__ == "__main__":
    main()
