"""How fast cards were in earlier runs, beside the throughput model: what calibrates the next quote.

One line a run in ~/.local/state/breakthrough/throughput.jsonl, written when a rented run ends. A ratio is
measured seconds by the model's, for the same work; above 1 the card was slower than the model has it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from clusters.state import state_root

FILE = "throughput.jsonl"
LAST_RUNS = 5  # of a card: images and drivers change
KINDS = ("network", "chain")


@dataclass(frozen=True)
class Calibration:
    """Ratios of one card over so many earlier runs; 1 and 0 where nothing was measured."""

    network: float = 1.0  # a training step
    chain: float = 1.0  # a chain of Gibbs sweeps
    runs: int = 0

    def text(self) -> str:
        """A clause for the quote; empty without earlier runs."""
        if not self.runs:
            return ""
        runs = "an earlier run" if self.runs == 1 else f"{self.runs} earlier runs"
        return f" (calibrated by {runs} on this card: a step takes {self.network:.2f} x the model's time)"


def note_throughput(name: str, gpu: str, out: Path) -> bool:
    """Keep what the run in ``out`` measured on a card; False where it measured nothing.

    Args:
        name: the cluster's, under which a later fetch of the same run replaces it.
        gpu: the card, as in the cluster YAML.
        out: the run's folder on this machine.
    """
    try:
        measured = json.loads((out / "run.json").read_text())["throughput"]
        ratios = {kind: float(measured[kind]) for kind in KINDS if measured.get(kind)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if not ratios or not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios.values()):
        return False
    with (state_root() / FILE).open("a") as file:
        file.write(json.dumps({"cluster": name, "gpu": gpu, **ratios}) + "\n")
    return True


def calibration_of(gpu: str) -> Calibration:
    """The median of the last runs on a card; torn or foreign lines are left out."""
    rows: dict[str, dict[str, Any]] = {}
    path = state_root() / FILE
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
            if row["gpu"] == gpu:
                rows.pop(row["cluster"], None)
                rows[row["cluster"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    last = list(rows.values())[-LAST_RUNS:]
    ratios = {kind: [float(row[kind]) for row in last if row.get(kind)] for kind in KINDS}
    return Calibration(
        network=median(ratios["network"]) if ratios["network"] else 1.0,
        chain=median(ratios["chain"]) if ratios["chain"] else 1.0,
        runs=len(last),
    )
