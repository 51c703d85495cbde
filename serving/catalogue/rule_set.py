"""The rules that a deployment has for every list, by item id: they outlive a release."""

from __future__ import annotations

from dataclasses import dataclass, field

from recsys.types import JsonObject


@dataclass(frozen=True)
class RuleSet:
    """As in ``recsys.release.queries.Rules``."""

    hidden: frozenset[str] = frozenset()
    boosts: dict[str, float] = field(default_factory=dict)
    diversity: float = 0.0


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
