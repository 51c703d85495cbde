"""The rules of a deployment on all lists, by item id, so that they outlive a release."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from recsys.types import JsonObject
from serving.domain import CHECKED, Number, Share


@dataclass(frozen=True)
class RuleSet:
    """``recsys.release.queries.Rules`` by item id: ``hidden`` items never appear; ``boosts`` are added to
    scores (which are about 0 to 1); ``diversity`` 0 is off, 1 ignores relevance."""

    __pydantic_config__: ClassVar[ConfigDict] = CHECKED
    hidden: frozenset[str] = frozenset()
    boosts: dict[str, Number] = field(default_factory=dict)
    diversity: Share = 0.0


def rules_json(rules: RuleSet) -> JsonObject:
    """Rules as JSON."""
    return {name: _plain(value) for name, value in vars(rules).items()}


def rules_from(fields: JsonObject) -> RuleSet:
    """The rules that ``rules_json`` wrote."""
    typed: JsonObject = {
        name: frozenset(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return RuleSet(**typed)


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    return dict(sorted(value.items())) if isinstance(value, dict) else value
