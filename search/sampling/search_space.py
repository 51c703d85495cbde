"""The search space of a family, from its ranges and the safe bounds: define by run.

A hybrid VAE's capacity fields are drawn one after the other, each only up to what the bounds leave when
the later ones are at their lowest: so whatever is drawn is inside. Nothing here knows Optuna: a
``Suggester`` is whatever can draw a named value, such as an Optuna trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from recsys.bounds import DataShape, Violation, scale_into_bounds, violations
from recsys.data.dataset import Dataset
from recsys.errors import InputError
from recsys.models.ranges import Categorical, FloatRange, IntRange, Range
from recsys.models.registry import make_config
from recsys.training.serialization import plain
from recsys.types import JsonObject
from search.config.plan import SUBJECT
from search.config.tracks import search_family


class Suggester(Protocol):
    """Draws one named value."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int: ...

    def suggest_categorical(self, name: str, choices: list[str]) -> Any: ...


@dataclass(frozen=True)
class Space:
    """What may be drawn for one family on one dataset. ``fixed`` fields are set and not drawn;
    ``small_batch`` allows the batch of a small GPU."""

    family: str
    shape: DataShape
    fixed: JsonObject = field(default_factory=dict)
    small_batch: bool = False

    @property
    def ranges(self) -> dict[str, Range]:
        """The ranges that are drawn, in drawing order: whole numbers (capacity) last."""
        free = {
            name: span for name, span in search_family(self.family).ranges.items() if name not in self.fixed
        }
        return dict(sorted(free.items(), key=lambda pair: isinstance(pair[1], IntRange)))

    def draw(self, suggester: Suggester) -> JsonObject:
        """A config, as fields; for a hybrid VAE always inside the bounds."""
        fields = dict(self.fixed)
        ranges = self.ranges
        lowest = {name: span.low for name, span in ranges.items() if isinstance(span, IntRange)}
        for name, span in ranges.items():
            if isinstance(span, FloatRange):
                fields |= {name: suggester.suggest_float(name, span.low, span.high, log=span.log)}
            elif isinstance(span, Categorical):
                option = suggester.suggest_categorical(name, list(span.options))
                fields |= chosen(name, span, option)
            else:
                lowest.pop(name)
                high = self._highest(name, span, {**fields, **lowest})
                fields |= {name: suggester.suggest_int(name, span.low, high, step=span.step)}
        return self.inside(fields)

    def inside(self, fields: JsonObject) -> JsonObject:
        """``fields``, scaled down where a hybrid VAE would break a bound."""
        if self.family != SUBJECT:
            return fields
        config = make_config(self.family, fields)
        if not self.broken(config):
            return fields
        scaled: JsonObject = plain(scale_into_bounds(config, self.shape))
        return scaled

    def broken(self, config: Any) -> list[Violation]:
        """The bounds that a hybrid VAE's config breaks."""
        return violations(config, self.shape, small_batch_allowed=self.small_batch)

    def require_safe(self) -> None:
        """The first door of the bounds: InputError that lists every bound the ``fixed`` fields break."""
        if broken := self.broken(make_config(self.family, self.fixed)):
            raise InputError("outside the safe bounds: " + "; ".join(map(str, broken)))

    def _highest(self, name: str, span: IntRange, others: JsonObject) -> int:
        """The largest step of ``span`` that the bounds leave; its lowest where they leave none."""
        if self.family != SUBJECT:
            return span.high
        low, high = 0, (span.high - span.low) // span.step
        while low < high:
            middle = (low + high + 1) // 2
            config = make_config(self.family, {**others, name: span.low + middle * span.step})
            if self.broken(config):
                high = middle - 1
            else:
                low = middle
        return span.low + low * span.step

    def describe(self, config: JsonObject) -> JsonObject | None:
        """The draws that produce ``config``, or None where it lies outside the space."""
        values = plain(search_family(self.family).config({**self.fixed, **config}))
        draws: JsonObject = {}
        for name, span in self.ranges.items():
            if isinstance(span, Categorical):
                names = [
                    option
                    for option in span.options
                    if all(_same(values.get(key), value) for key, value in chosen(name, span, option).items())
                ]
                if not names:
                    return None
                draws[name] = names[0]
            elif not _holds(span, values[name]):
                return None
            else:
                draws[name] = values[name]
        return draws


def shape_of(dataset: Dataset) -> DataShape:
    """What the bounds count tables by."""
    return DataShape(
        users=dataset.ratings.user_count,
        items=dataset.ratings.item_count,
        user_features=0 if dataset.user_features is None else dataset.user_features.shape[1],
        item_features=0 if dataset.item_features is None else dataset.item_features.shape[1],
    )


def chosen(name: str, span: Categorical, option: str) -> JsonObject:
    """The fields that ``option`` sets: the one called ``name``, or several where its value names them."""
    value = span.options[option]
    return dict(value) if isinstance(value, Mapping) else {name: value}


def _holds(span: FloatRange | IntRange, value: Any) -> bool:
    if isinstance(span, IntRange):
        return bool(span.low <= value <= span.high and (value - span.low) % span.step == 0)
    return bool(span.low <= value <= span.high)


def _same(first: Any, second: Any) -> bool:
    return bool(plain(first) == plain(second))
