"""The most memory that two epochs of a trial hold, under refusing_allocator.c: prints bytes.

LD_PRELOAD=refusing.so python -m tests.end_to_end.step_memory DATA CONFIG-AS-JSON
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from pathlib import Path

from recsys.data.data_spec import DataSpec
from recsys.data.splits import make_split, training_data
from recsys.training.trial import Trial
from recsys.training.trial_types import TrialSpec


def main(source: str, config: str) -> None:
    dataset = DataSpec(source).load()
    data = training_data(dataset, make_split(dataset, "random", seed=0))
    spec = TrialSpec(0, "memory", "hybrid_vae", json.loads(config), epochs=2, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(spec, data, folder=Path(folder), small_batch_allowed=True)
        while not trial.finished:
            trial.step()
    held = ctypes.CDLL(None).most_bytes_held
    held.restype = ctypes.c_size_t
    print(held())


if __name__ == "__main__":
    main(*sys.argv[1:])
