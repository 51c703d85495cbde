"""What finishing a run made, and the seconds of its stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.results.schema import Results


@dataclass
class FinishedRun:
    """A run's results so far, and what results.json does not hold.

    ``test_stars`` are (test rows,) predictions by model key ("formula", "ensemble", a baseline's family),
    ``gate_stars`` (gate rows,) the ensemble's before any refit: promotion compares them with the champion.
    """

    results: Results
    release: Path | None = None
    test_stars: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    gate_stars: NDArray[np.float32] | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of a stage to the results; those of a stage inside it count there alone."""
        began, seconds = time.perf_counter(), self.results.seconds
        counted = sum(seconds.values())
        yield
        inside = sum(seconds.values()) - counted
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - began - inside
