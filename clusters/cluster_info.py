"""What a search on a cluster may know of it: size, price, limits, and the batch of the GPU's own row.

The launcher writes it on the head before the job starts and names the file in BREAKTHROUGH_CLUSTER_FACTS; a
search on this machine finds no such variable and gets None. The driver's budget takes price and limits from
here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BREAKTHROUGH_CLUSTER_FACTS"


@dataclass(frozen=True)
class ClusterInfo:
    """Dollars are of the whole cluster; times are seconds since the epoch."""

    provider: str
    name: str
    gpu: str
    gpus_per_pod: int
    pods: int
    trials_per_gpu: int | None
    batch_size: int
    usd_per_hour: float
    spent_usd: float  # up to `written`
    written: float
    deadline: float
    max_usd: float
    max_hours: float
    network_ratio: float = 1.0  # measured in earlier runs on this card: clusters/quote_calibration.py
    chain_ratio: float = 1.0
    needs_gpu: bool = False  # a search that loses its GPU ends, for it would be billed for nothing

    def spent_by(self, now: float) -> float:
        """Dollars spent at a time, by our count."""
        return self.spent_usd + self.usd_per_hour * max(0.0, now - self.written) / 3600

    def shown(self) -> dict[str, str | int | float]:
        """The cluster as results.json has it; dollars before the search are those of starting."""
        return {
            "provider": self.provider,
            "cluster": self.name,
            "gpu": self.gpu,
            "gpus_per_pod": self.gpus_per_pod,
            "pods": self.pods,
            "usd_per_hour": round(self.usd_per_hour, 4),
            "usd_before_the_search": round(self.spent_usd, 4),
        }

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)


def read_cluster_info() -> ClusterInfo | None:
    """The cluster that this process runs on; None where it is not a rented one."""
    path = os.environ.get(VARIABLE)
    if not path or not Path(path).exists():
        return None
    return ClusterInfo(**json.loads(Path(path).read_text()))


def hours_left(facts: ClusterInfo) -> float:
    """Hours until the guards end the cluster."""
    return max(0.0, facts.deadline - time.time()) / 3600
