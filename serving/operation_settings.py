"""How results, drift and roll-outs are judged beside a service."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.experiments.experiment_metrics import DEFAULT_METRICS, Metric
from serving.experiments.guardrails import Limits


@dataclass(frozen=True)
class OperationSettings:
    """``window_seconds`` after a user's first exposure their outcome is fixed. ``metrics`` say what counts as
    a conversion (accuracy is there always); the first is an arm's hit rate. ``segments`` are columns of the
    users' table that results are shown by, beside activity."""

    window_seconds: float = 86_400.0
    tick_seconds: float = 1.0
    limits: Limits = field(default_factory=Limits)
    metrics: tuple[Metric, ...] = DEFAULT_METRICS
    segments: tuple[str, ...] = ()
