"""Both tracks of a search by family name: rating models, and list families.

A family belongs to one track; on both, a config is drawn from its ranges, so one sampler serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from recsys.data.split import TrainingData
from recsys.errors import InputError, suggest_names
from recsys.models.ranges import Range
from recsys.models.registry import FAMILIES, family_named
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.types import JsonObject

Track = Literal["rating", "lists"]


@dataclass(frozen=True)
class SearchFamily:
    """What a search has to know of a family. ``starts`` are configs to try first, as fields; ``most_epochs``
    is as ``ModelFamily`` has it."""

    name: str
    track: Track
    config_type: type[Any]
    ranges: Mapping[str, Range]
    starts: tuple[JsonObject, ...] = ()
    uses_gpu: bool = False
    most_epochs: int | None = None

    def config(self, values: JsonObject) -> Any:
        """A config with ``values`` set. Raises InputError for a wrong field."""
        return self.config_type(**values)

    def forced_defaults(self, data: TrainingData) -> JsonObject:
        """Fields that ``data`` cannot feed, at their off-values."""
        if self.track == "rating":
            return family_named(self.name).forced_defaults(data)
        return LIST_FAMILIES[self.name].forced_off(ListData(data.train, data.item_features))


def search_family(name: str) -> SearchFamily:
    """The family called ``name`` on its track. Raises InputError with near names."""
    if name in FAMILIES:
        rating = FAMILIES[name]
        return SearchFamily(
            name,
            "rating",
            rating.config_type,
            rating.ranges,
            uses_gpu=rating.uses_gpu,
            most_epochs=rating.most_epochs,
        )
    if name in LIST_FAMILIES:
        listed = LIST_FAMILIES[name]
        starts = tuple(asdict(start) for start in listed.starts)
        return SearchFamily(
            name,
            "lists",
            listed.config_type,
            listed.ranges,
            starts,
            uses_gpu=listed.uses_gpu,
            most_epochs=1,
        )
    families = {**FAMILIES, **LIST_FAMILIES}
    raise InputError(f"there is no model family {name!r}; {suggest_names(name, families)}")
