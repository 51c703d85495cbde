"""The rules that a deployment has for every list, by item id: they outlive a release."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from recsys.types import JsonObject
from serving.domain import CHECKED, Number, Share


@dataclass(frozen=True)
class RuleSet:
    """``recsys.release.queries.Rules`` by item id: ``hidden`` never appear; ``boosts`` add to an item's score
    (lists are ordered by a score of about 0 to 1); ``diversity`` 0 is off, 1 all variety and no relevance."""

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED
    hidden: frozenset[str] = frozenset()
    boosts: dict[str, Number] = field(default_factory=dict)
    diversity: Share = 0.0


def rules_json(rules: RuleSet) -> JsonObject:
    """As it is stored and shown."""
    return {name: _plain(value) for name, value in vars(rules).items()}


def rules_from(fields: JsonObject) -> RuleSet:
    """What ``rules_json`` gave."""
    typed: JsonObject = {
        name: frozenset(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return RuleSet(**typed)


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    return dict(sorted(value.items())) if isinstance(value, dict) else value
