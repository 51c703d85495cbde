"""Search ranges of hyperparameters, as data that ``search`` turns into Optuna's distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FloatRange:
    """A real number in [low, high], uniform or log-uniform."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class IntRange:
    """An integer: low, low + step, ... up to high."""

    low: int
    high: int
    step: int = 1


@dataclass(frozen=True)
class Categorical:
    """A choice by name: ``options`` maps the names that the sampler and the report show to values."""

    options: dict[str, Any]


Range = FloatRange | IntRange | Categorical
