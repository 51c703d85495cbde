"""Schedules as functions of progress; only that of a plateau has state.

``progress`` is steps done over steps planned, in [0, 1), so that a shorter run follows the same curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from ``start`` at 0 to ``end`` at 1 (Loshchilov & Hutter 2017)."""
    progress = min(max(progress, 0.0), 1.0)
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def ramp(epoch: float, *, start: float, length: float) -> float:
    """Warm-up factor at ``epoch``: from 0 to 1 over ``length`` epochs from ``start`` on, 1 elsewhere."""
    if length <= 0 or not start <= epoch < start + length:
        return 1.0
    return (epoch - start) / length


def warmup_length(warmup_epochs: int, epochs: int) -> float:
    """Epochs of warm-up: as configured, but at most a quarter of ``epochs``."""
    return min(float(warmup_epochs), epochs / 4)


@dataclass
class Plateau:
    """Scales the rate by ``factor`` after more than ``patience`` epochs without a lower valid loss.

    The rule of torch's ReduceLROnPlateau with its default relative threshold of 1e-4.
    """

    patience: int
    factor: float = 0.5
    best: float = math.inf
    bad_epochs: int = 0
    scale: float = 1.0

    def on_validation(self, loss: float) -> None:
        """Updates ``scale`` after an epoch with ``loss`` on valid."""
        if loss < self.best * (1 - 1e-4):
            self.best, self.bad_epochs = loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.scale, self.bad_epochs = self.scale * self.factor, 0
