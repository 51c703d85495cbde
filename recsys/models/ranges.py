"""What the search may vary, as data. ``search`` turns these into a sampler's suggestions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FloatRange:
    """A number in [low, high], drawn evenly, or evenly in its logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class IntRange:
    """A whole number low, low + step, ... up to high."""

    low: int
    high: int
    step: int = 1


@dataclass(frozen=True)
class Categorical:
    """One of ``options``, by name: ``options`` maps what the sampler and the report show to the value."""

    options: dict[str, Any]


Range = FloatRange | IntRange | Categorical
