"""Metrics of an experiment: which feedback is a conversion, from which value on, with which weight.

A list is worth the largest weight among its conversions, so a repeated click counts once. A user's outcome is
the mean worth of their lists: of all served, or of those seen (with an ``impression`` or a conversion).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from recsys.errors import InputError

ACCURACY = "accuracy"
HIT_RATE = "hit_rate"
LIKED = 0.75  # of the scale: 4 of 1 to 5, 7.75 of 1 to 10
UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0}
SPAN = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(second|minute|hour|day|week)s?\s*$")


@dataclass(frozen=True)
class EventRule:
    """A conversion's ``weight``; ``at_least`` is the smallest value that counts (None: any); ``liked`` sets
    it to ``LIKED`` of the release's scale."""

    weight: float = 1.0
    at_least: float | None = None
    liked: bool = False

    def weight_of(self, value: float | None) -> float:
        """The weight of a conversion with ``value``; 0 where it is below ``at_least``, or missing."""
        if self.at_least is None:
            return self.weight
        return self.weight if value is not None and value >= self.at_least else 0.0


@dataclass(frozen=True)
class Metric:
    """A metric. ``events`` maps kinds of feedback to rules; outcomes lie between 0 and ``bound``."""

    name: str = HIT_RATE
    events: Mapping[str, EventRule] = field(
        default_factory=lambda: {"click": EventRule(), "rating": EventRule(liked=True)}
    )
    exposures: Literal["served", "seen"] = "served"

    @property
    def bound(self) -> float:
        return max(rule.weight for rule in self.events.values())

    def on_scale(self, low: float, high: float) -> Metric:
        """With ``at_least`` of ``liked`` rules for ratings from ``low`` to ``high``."""
        liked = low + LIKED * (high - low)
        events = {
            kind: replace(rule, at_least=liked) if rule.liked else rule for kind, rule in self.events.items()
        }
        return replace(self, events=events)


DEFAULT_METRICS = (Metric(),)


@dataclass(frozen=True)
class MetricSet:
    """The metrics of an experiment; ``primary`` decides, and is the first unless it is accuracy."""

    metrics: tuple[Metric, ...] = DEFAULT_METRICS
    primary: str = HIT_RATE


def metric_set(rules: Mapping[str, Any]) -> MetricSet:
    """The metrics of JSON values: ``primary``, and a rule (events, exposures) for each further name."""
    primary = str(rules.get("primary", HIT_RATE))
    metrics = [
        Metric(
            name,
            {kind: EventRule(event["weight"], event["at_least"]) for kind, event in rule["events"].items()},
            rule["exposures"],
        )
        for name, rule in rules.items()
        if name != "primary"
    ] or list(DEFAULT_METRICS)
    if primary == HIT_RATE and HIT_RATE not in [metric.name for metric in metrics]:
        metrics += DEFAULT_METRICS
    return MetricSet(tuple(sorted(metrics, key=lambda metric: metric.name != primary)), primary)


def check_thresholds(metrics: Sequence[Metric], low: float, high: float) -> None:
    """Raises InputError for an ``at_least`` outside of the rating scale, ``low`` to ``high``."""
    for metric in metrics:
        for kind, rule in metric.events.items():
            if rule.at_least is not None and not low <= rule.at_least <= high:
                raise InputError(
                    f"metrics: {metric.name}.events.{kind}.at_least is {rule.at_least:g}, but the first "
                    f"arm's release has ratings from {low:g} to {high:g}: expected a value between them"
                )


def seconds_of(words: str) -> float:
    """Seconds of "36 hours" or "7 days". Raises ValueError."""
    match = SPAN.match(words)
    if match is None:
        raise ValueError(f"expected a time like 36 hours or 7 days, got {words!r}")
    return float(match[1]) * UNITS[match[2]]


def words_of(seconds: float) -> str:
    """A duration in its largest unit that gives a whole number, or at least two."""
    for unit in ("day", "hour", "minute", "second"):
        count = seconds / UNITS[unit]
        if (count == int(count) and count >= 1) or count >= 2:
            return f"{count:g} {unit}" + ("" if count == 1 else "s")
    return f"{seconds:g} seconds"
