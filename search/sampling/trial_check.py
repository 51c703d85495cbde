"""The first door of the safe bounds: every trial that a run will start is checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recsys.bounds import DataShape, violations
from recsys.data.split import TrainingData
from recsys.errors import InputError
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.ranges import Categorical
from recsys.models.registry import FAMILIES
from recsys.training.trial_types import TrialSpec
from recsys.types import JsonObject
from search.config.tracks import search_family
from search.sampling.search_space import Space


def check_trial(spec: TrialSpec, data: TrainingData, shape: DataShape, *, small_batch: bool) -> None:
    """Raises InputError where ``spec`` could not start: a wrong field, an option that ``data`` cannot feed,
    or a hybrid VAE outside the safe bounds.

    Args:
        spec: The trial as it would run.
        data: What it would be trained on.
        shape: What its tables are counted by.
        small_batch: Whether the GPU's own row asks for batch 1536.
    """
    config = search_family(spec.family).config(spec.config)
    if spec.epochs < 1:
        raise InputError(f"trial {spec.number} ({spec.name}) has {spec.epochs} epochs, expected 1 or more")
    if isinstance(config, HybridVaeConfig):
        broken = violations(config, shape, small_batch_allowed=small_batch)
        if broken:
            reasons = "; ".join(map(str, broken))
            raise InputError(
                f"trial {spec.number} ({spec.name}) is outside the safe bounds: {reasons}. Bring what is "
                "named inside; nothing was started"
            )
    check = FAMILIES[spec.family].check if spec.family in FAMILIES else None
    if check is not None:
        check(config, data)


def corner_configs(space: Space) -> Iterator[JsonObject]:
    """Configs at the corners of what ``space`` draws: every number at its lowest and at its highest, with
    each option of each choice in turn. What is fixed beside them must leave all of them possible."""
    choices = [(name, option) for name, span in space.ranges.items() if isinstance(span, Categorical)
               for option in span.options]  # fmt: skip
    for highest in (False, True):
        for name, option in choices or [("", "")]:
            yield space.draw(_Corner(highest, {name: option}))


class _Corner:
    """Draws the lowest or the highest value, and the first option or the one that is asked for."""

    def __init__(self, highest: bool, options: dict[str, str]) -> None:
        self._highest, self._options = highest, options

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return high if self._highest else low

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return low + (high - low) // step * step if self._highest else low

    def suggest_categorical(self, name: str, choices: list[str]) -> Any:
        return self._options.get(name, choices[0])
