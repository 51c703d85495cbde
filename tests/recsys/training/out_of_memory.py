"""A process whose allocator really refuses (RLIMIT_AS): run as a module, prints JSON.

After a good epoch the room left is less than a step needs, but a large array lies in a reference cycle,
like what a failed step leaves behind: going on is possible once it is collected. With ``hopeless`` there
is no such array, and no room at all.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from recsys.training.serialization import plain
from recsys.training.trial import TrainingFailed, Trial
from recsys.training.trial_types import TrialSpec
from tests.small_ratings import checkerboard, training_data

MEGABYTE = 2**20
DATA = training_data(checkerboard(users=60, items=60))
# The formula with LayerNorm: a step needs about 100 MB.
SPEC = TrialSpec(0, "memory", "hybrid_vae", {"normalisation": "layer"}, epochs=3, seed=1)


def address_space() -> int:
    """Bytes mapped now."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(hopeless: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(SPEC, DATA, folder=Path(folder), device="cpu")
        trial.step()
        gc.collect()
        gc.disable()
        if not hopeless:
            leftover: list[object] = [np.ones(256 * MEGABYTE, dtype=np.uint8)]
            leftover.append(leftover)
            del leftover
        limit = address_space() + 2 * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        error = ""
        try:
            while not trial.finished:
                trial.step()
        except TrainingFailed as failure:
            error = str(failure)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        figures = {
            "epochs": len(trial.reports),
            "batch_size": trial.config.batch_size,
            "events": [asdict(event) for event in trial.events],
            "error": error,
        }
        print(json.dumps(plain(figures)))


if __name__ == "__main__":
    main(sys.argv[1:] == ["hopeless"])
